// CLIP's byte-level BPE tokenizer, equal to transformers' CLIPTokenizer (version 5, which is built on the Rust tokenizers library):
// NFC, white space collapsed, lower case; split into contractions, runs of letters, single numbers and runs of other characters;
// byte-pair encoding with "</w>" at a word's end; <|startoftext|> in front, <|endoftext|> behind. Special and added tokens are cut out of the
// text first, by the rules of AddedToken.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/added_tokens.h"
#include "tokenizers/byte_pair_encoding.h"
#include "tokenizers/tokenizer.h"
#include "tokenizers/vocabulary.h"

namespace vivace {

class CLIPTokenizer : public Tokenizer {
 public:
  // Reads the tokenizer folder of a Diffusers checkpoint: vocab.json and merges.txt (or tokenizer.json alone), tokenizer_config.json,
  // special_tokens_map.json and added_tokens.json where they are there. Throws UserError that names the file and what was expected: missing or
  // unreadable files, JSON that does not parse or has wrong types, malformed merges, a vocabulary without the special tokens.
  static CLIPTokenizer from_pretrained(const std::filesystem::path& folder);

  // bos, the text, eos, padding.
  using Tokenizer::encode;
  Encoding encode(std::string_view text, int length) const override;

  // The text's tokens without bos, eos, padding and truncation.
  std::vector<int32_t> tokenize_ids(std::string_view text) const;
  // The token as the vocabulary spells it, "apple</w>", an added one as it is looked for; empty for an id that there is none for.
  std::string token(int32_t id) const override;
  // The text of tokens, a space after each word; always valid UTF-8. Ids without a token are left out.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = false) const;

  int32_t bos_token_id() const { return bos_token_id_; }
  int32_t eos_token_id() const override { return eos_token_id_; }
  int32_t pad_token_id() const override { return pad_token_id_; }
  int model_max_length() const override { return model_max_length_; }
  int32_t vocab_size() const override { return vocab_size_; }
  // The ids are those below it.
  int32_t size() const { return vocabulary_.size(); }
  // The same with one token more, which stands for `count` ids in a row, size() and those behind it: what textual inversion adds. As in Diffusers the
  // others are tokens too, "<cat>_1" and so on. Throws UsageError where there is such a token.
  CLIPTokenizer with_token(const std::string& token, int count) const;

 private:
  CLIPTokenizer();
  void encode_words(std::string_view text, std::vector<int32_t>& ids) const;

  Vocabulary vocabulary_;   // the added tokens that the file lacks follow behind its own
  int32_t vocab_size_ = 0;  // its own
  BytePairEncoding encoding_;
  AddedTokens added_tokens_;
  std::vector<int32_t> special_ids_;
  std::map<int32_t, int> repeats_;  // ids that stand for several in a row
  int32_t bos_token_id_ = 0, eos_token_id_ = 0, pad_token_id_ = 0;
  int model_max_length_ = 0;
};

}  // namespace vivace
