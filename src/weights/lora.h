// Adapters over a model's weights: W becomes W + strength * scale * delta (lora_delta.h), with scale = alpha / rank. With DoRA the rows of that sum
// are turned into ones of the lengths that the file says; of several adapters each goes on from the sum before it, and as in peft the lengths are
// measured as if it were alone.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "weights/lora_delta.h"
#include "weights/lora_names.h"
#include "weights/peft_pattern.h"

namespace vivace {

// A file, opened; shared by the adapters of its parts.
class LoraFile {
 public:
  // `path`: a .safetensors file, or a folder with pytorch_lora_weights.safetensors. Throws UserError: not found, damaged, a NaN or infinity in it.
  static std::shared_ptr<const LoraFile> open(const std::filesystem::path& path);

  const WeightMap& weights() const { return origins_->weights(); }
  const std::shared_ptr<const WeightOrigins>& origins() const { return origins_; }
  // alpha / rank: of the tensor `alpha`, or of the lora_alpha and the like of the header (of peft's adapter_model.safetensors of the
  // adapter_config.json beside it), which also say whether the root of the rank is meant.
  double scale(const std::string& part, const std::string& module, int64_t rank, const WeightInfo* alpha) const;

 private:
  explicit LoraFile(WeightMap weights);
  std::string part_prefix(const std::string& part) const { return of_peft_ ? "" : part + '.'; }
  std::shared_ptr<const WeightOrigins> origins_;
  // What the header or adapter_config.json says: numbers and what is true by their keys, patterns by what part_prefix() gives.
  std::map<std::string, double> numbers_;
  std::set<std::string> flags_;
  std::map<std::string, PeftPattern> alpha_patterns_;
  bool of_peft_ = false;  // it is of one part, whose name is not in it
};

// What a file adds to one weight.
struct LoraWeight {
  LoraDelta delta;
  int64_t begin = 0, end = 0;  // which rows of the delta are the weight's
  bool swap_halves = false;    // of these rows, the second half comes first
  double scale = 1;
  std::optional<StoredTensor> magnitude;  // DoRA's, a number a row of the delta
};

// What a file says of one part of a pipeline.
class Lora {
 public:
  // Adds the names of the tensors that it reads to `used`. Throws UserError naming both shapes where one does not fit.
  static std::shared_ptr<const Lora> read(const LoraFile& file, const AdapterTarget& target, std::set<std::string>& used);
  // For hot swapping: LoRAs alone, with factors of this rank, and nothing for the weights of `slots` that it says nothing of; without slots those
  // that it says something of are its own. Throws UserError for a greater rank, or for one of no slot.
  std::shared_ptr<const Lora> padded(int64_t rank, const Lora* slots) const;

  const LoraWeight* find(std::string_view weight) const;
  size_t size() const { return weights_.size(); }
  bool empty() const { return weights_.empty(); }
  std::string structure() const;

 private:
  std::string file_;
  std::map<std::string, LoraWeight, std::less<>> weights_;
};

// Several, with strengths.
class LoraLayer final : public WeightLayer {
 public:
  using Weighted = std::pair<std::shared_ptr<const Lora>, double>;
  explicit LoraLayer(std::vector<Weighted> loras) : loras_(std::move(loras)) {}
  std::optional<ModelWeight> find(std::string_view name, const Below& below) const override;
  std::string structure() const override;

 private:
  std::vector<Weighted> loras_;
};

}  // namespace vivace
