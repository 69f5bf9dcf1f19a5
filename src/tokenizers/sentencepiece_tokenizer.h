// Tokenizers of the sentencepiece family, equal to transformers' (version 5): T5Tokenizer, a unigram model whose search is the sentencepiece
// library's, and LlamaTokenizer, byte-pair encoding of characters with bytes for what the vocabulary lacks. Added tokens are cut out of
// the text first, by the rules of AddedToken.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/added_tokens.h"
#include "tokenizers/tokenizer.h"

namespace vivace {

// How a text without added tokens becomes ids. Immutable.
class PieceModel {
 public:
  virtual ~PieceModel() = default;
  // `first`: nothing of the text lies before it.
  virtual void encode(std::string_view text, bool first, std::vector<int32_t>& ids) const = 0;
  virtual int32_t size() const = 0;
  virtual int32_t find(std::string_view piece) const = 0;  // -1: there is none
  virtual std::string text(int32_t id) const = 0;          // `id` within size()
};

// A T5Tokenizer's model, or a LlamaTokenizer's.
enum class PieceKind : uint8_t { unigram, pairs };

class SentencePieceTokenizer final : public Tokenizer {
 public:
  // Reads the tokenizer folder of a Diffusers checkpoint: spiece.model (unigram) or tokenizer.model (pairs), or tokenizer.json; tokenizer_config.json
  // where it is there. Throws UserError that names the file and what was expected, for a model of another kind too.
  static SentencePieceTokenizer from_pretrained(const std::filesystem::path& folder, PieceKind kind);

  using Tokenizer::encode;
  Encoding encode(std::string_view text, int length) const override;
  std::string token(int32_t id) const override;
  int model_max_length() const override { return model_max_length_; }
  int32_t vocab_size() const override { return model_->size(); }
  int32_t eos_token_id() const override { return eos_token_id_; }
  int32_t pad_token_id() const override { return pad_token_id_; }

  // The text's tokens without special ones and truncation.
  std::vector<int32_t> tokenize_ids(std::string_view text) const;
  // The text of tokens, a space for each "▁" but the first.
  std::string decode(const std::vector<int32_t>& ids) const;

 private:
  SentencePieceTokenizer() : added_tokens_([](std::string_view text) { return std::string(text); }) {}

  std::shared_ptr<const PieceModel> model_;
  AddedTokens added_tokens_;
  int32_t bos_token_id_ = -1, eos_token_id_ = -1, pad_token_id_ = 0;  // bos, eos: -1 where none is added
  int model_max_length_ = 512;
};

}  // namespace vivace
