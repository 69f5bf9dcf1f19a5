// What tokenizer_config.json and the files beside it say about a tokenizer's special and added tokens.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "tokenizers/added_tokens.h"

namespace vivace {

// The defaults are those of transformers' CLIPTokenizer; without a model_max_length (or with an absurd one, as transformers writes for none) it
// is 77.
struct TokenizerConfig {
  std::string name;  // the file, for messages
  std::string bos_token = "<|startoftext|>", eos_token = "<|endoftext|>", unk_token = "<|endoftext|>", pad_token = "<|endoftext|>";
  size_t model_max_length = 77;
  // In the order in which they are added; of two with equal contents the later counts. Contents are not empty.
  std::vector<AddedToken> added_tokens;
  // The first `declared` of them are declared as added tokens, so that they need not be in the vocabulary; the others are only named as special.
  size_t declared = 0;

  // Reads tokenizer_config.json, special_tokens_map.json, added_tokens.json and the added tokens of tokenizer.json in `folder`, each of which may be
  // missing. As in transformers, where the config has an added_tokens_decoder the other three have no say; else special_tokens_map.json
  // overrides the config. Throws UserError that names the file and the field: no JSON, a wrong type, a value that is not supported.
  static TokenizerConfig read(const std::filesystem::path& folder);
};

}  // namespace vivace
