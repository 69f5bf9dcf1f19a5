// What tokenizer_config.json and the files beside it say about a tokenizer's special and added tokens.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/added_tokens.h"

namespace vivace {

// What a class of tokenizers takes where the files say nothing.
struct TokenizerDefaults {
  std::string bos_token, eos_token, unk_token, pad_token;  // empty: it has none
  std::vector<std::string_view> needed;                    // keys of those that there must be
  size_t model_max_length = 0;
  bool pads_left = false;
  // Special tokens that the model's own file lists, in place of the additional_special_tokens.
  std::optional<std::vector<AddedToken>> listed;
  // Further ones, where none of these is called so.
  std::string further_prefix;
  std::vector<AddedToken> further;
};

struct TokenizerConfig {
  std::string name;  // the file, for messages
  std::string bos_token, eos_token, unk_token, pad_token;
  size_t model_max_length = 0;
  bool pads_left = false;
  // In the order in which they are added; of two with equal contents the later counts. Contents are not empty.
  std::vector<AddedToken> added_tokens;
  // The first `declared` of them are declared as added tokens, so that they need not be in the vocabulary; the others are only named as special.
  size_t declared = 0;

  // Reads tokenizer_config.json, special_tokens_map.json, added_tokens.json and the added tokens of tokenizer.json in `folder`, each of which may be
  // missing. As in transformers, where the config has an added_tokens_decoder the other three have no say; else special_tokens_map.json
  // overrides the config. Without a model_max_length, or with an absurd one, as transformers writes for none, it is the class's.
  // Throws UserError that names the file and the field: no JSON, a wrong type, a value that is not supported.
  static TokenizerConfig read(const std::filesystem::path& folder, const TokenizerDefaults& defaults);
};

}  // namespace vivace
