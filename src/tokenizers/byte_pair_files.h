// The vocabulary and the merges of a byte-pair tokenizer, from vocab.json and merges.txt or from tokenizer.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/added_tokens.h"
#include "tokenizers/vocabulary.h"

namespace vivace {

struct BytePairFiles {
  struct Merge {
    std::string left, right;
  };
  std::string vocabulary_name, merges_name;  // the files, for messages
  Vocabulary vocabulary;
  std::vector<Merge> merges;  // the best first

  // Adds what the file says. Throws UserError that names the file and what was expected: it cannot be read, is no JSON, has a value of the wrong
  // type, an id out of range or used twice, no tokens at all, a malformed line. `name` stands for the file in messages.
  void parse_vocabulary(std::string_view vocab_json, const std::string& name);
  void parse_merges(std::string_view merges_txt, const std::string& name);
  // tokenizer.json holds both. Its normaliser and its other parts are not looked at: they are the class's own, as in transformers.
  void parse_tokenizer(std::string_view tokenizer_json, const std::string& name);

  // vocab.json and merges.txt of the folder, or tokenizer.json where there is no vocab.json.
  static BytePairFiles read(const std::filesystem::path& folder);
};

// The added tokens of a tokenizer.json, by id.
std::map<int32_t, AddedToken> read_added_tokens(std::string_view tokenizer_json, const std::string& name);

}  // namespace vivace
