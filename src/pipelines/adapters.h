// The adapters that a pipeline has loaded, and which of them lie over its models' weights.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "families/parts.h"
#include "weights/lora.h"

namespace vivace {

class Adapters {
 public:
  // What DiffusionPipeline's methods of these names say. `parts` are the pipeline's.
  void load(const std::filesystem::path& path, std::string name, bool hotswap, const Parts& parts);
  void set(const std::vector<std::string>& names, const std::vector<double>& weights, const Parts& parts);
  void remove(const std::vector<std::string>& names, const Parts& parts);
  void fuse(double scale, const std::vector<std::string>& names, const Parts& parts);
  void unfuse(const Parts& parts);
  void enable_hotswap(int64_t rank);
  void load_tokens(const std::filesystem::path& path, const std::string& token, Parts& parts);
  void remove_tokens(const std::vector<std::string>& tokens, Parts& parts);
  std::vector<std::string> names() const;
  std::vector<std::string> active() const;
  bool has_tokens() const;

 private:
  using Loras = std::map<std::string, std::shared_ptr<const Lora>>;  // by part
  struct Adapter {
    std::string name;
    Loras loras;
    std::optional<size_t> active = 0;  // its place among those that are
    double weight = 1;
    std::optional<double> fused;  // with this weight, whether it is active or not
  };
  struct Token {
    std::string name;
    StoredTensor vectors;  // [n, width]
  };
  struct TextEncoder {
    std::shared_ptr<const Tokenizer> tokenizer;  // the checkpoint's
    int64_t vocab_size = 0;                      // the checkpoint's
    std::vector<Token> tokens;                   // in the order they were loaded
  };
  Adapter& at(const std::string& name);
  void put_tokens(Parts& parts);
  Loras read(const std::filesystem::path& path, const Parts& parts) const;
  // Those that are fused, then those that are active, in their order.
  std::vector<const Adapter*> applied() const;
  void apply(const Parts& parts) const;

  std::vector<Adapter> adapters_;                // in the order they were loaded
  std::vector<std::pair<Loras, double>> fused_;  // that stay when their adapters are gone
  std::optional<int64_t> hotswap_rank_;
  std::map<std::string, TextEncoder, std::less<>> text_encoders_;  // that tokens were loaded for, by part
};

}  // namespace vivace
