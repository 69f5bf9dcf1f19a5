// Tokenizer: what a pipeline asks of any of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace vivace {

// Immutable once made; several threads may call it at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  struct Encoding {
    std::vector<int32_t> ids;   // as many as asked for: special tokens, the text, padding
    int begin = 0, length = 0;  // where those that are no padding begin, and how many they are: the ones of the attention mask
    std::string truncated;      // what did not fit, as decode() writes it; empty if all did
  };
  // As tokenizer(text, padding="max_length", max_length=length, truncation=True). Bytes that are not UTF-8 count as U+FFFD.
  virtual Encoding encode(std::string_view text, int length) const = 0;
  Encoding encode(std::string_view text) const { return encode(text, model_max_length()); }
  // The token as the vocabulary spells it; empty for an id that there is none for.
  virtual std::string token(int32_t id) const = 0;
  virtual int model_max_length() const = 0;
  // Tokens of the vocabulary itself: those that were added to it may lie beyond.
  virtual int32_t vocab_size() const = 0;
  virtual int32_t eos_token_id() const = 0;  // what ends a text; -1: nothing does
  virtual int32_t pad_token_id() const = 0;
};

// Whether `class_name` is one of a tokenizer that model_index.json may name: "CLIPTokenizer".
bool is_tokenizer(std::string_view class_name);
// The tokenizer in `folder`, of a class that is one. Throws UserError that names the file and what was expected.
std::shared_ptr<const Tokenizer> open_tokenizer(std::string_view class_name, const std::filesystem::path& folder);

}  // namespace vivace
