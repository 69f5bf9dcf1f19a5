// Tokenizers of the sentencepiece family, equal to transformers' (version 5, which is built on the Rust tokenizers library): T5Tokenizer, a unigram
// model, and LlamaTokenizer, byte-pair encoding of characters with bytes for what the vocabulary lacks. Added tokens are cut out of the text first,
// by the rules of AddedToken.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizers/added_tokens.h"
#include "tokenizers/tokenizer.h"

namespace vivace {

// How a text without added tokens becomes ids. Immutable.
class PieceModel {
 public:
  virtual ~PieceModel() = default;
  virtual std::string normalize(std::string_view text) const { return std::string(text); }
  // A text that is normalised. `first`: nothing of it lies before it.
  virtual void encode(std::string_view text, bool first, std::vector<int32_t>& ids) const = 0;
  virtual int32_t size() const = 0;
  virtual int32_t find(std::string_view piece) const = 0;  // -1: there is none
  virtual std::string text(int32_t id) const = 0;          // `id` within size()
};

// A T5Tokenizer's model, or a LlamaTokenizer's.
enum class PieceKind : uint8_t { unigram, pairs };

class SentencePieceTokenizer final : public Tokenizer {
 public:
  // Reads the tokenizer folder of a Diffusers checkpoint: tokenizer.json, or where there is none spiece.model (unigram) or tokenizer.model (pairs);
  // tokenizer_config.json and what else may lie beside it. Throws UserError that names the file and what was expected, for a model of another kind
  // too.
  static SentencePieceTokenizer from_pretrained(const std::filesystem::path& folder, PieceKind kind);

  using Tokenizer::encode;
  Encoding encode(std::string_view text, int length) const override;
  std::string token(int32_t id) const override;
  int model_max_length() const override { return model_max_length_; }
  int32_t vocab_size() const override { return vocab_size_; }
  int32_t eos_token_id() const override { return after_.empty() ? -1 : after_.back(); }
  int32_t pad_token_id() const override { return pad_token_id_; }

  // The text's tokens without special ones and truncation.
  std::vector<int32_t> tokenize_ids(std::string_view text) const;
  // The text of tokens, a space for each "▁" but the first.
  std::string decode(const std::vector<int32_t>& ids) const;

 private:
  explicit SentencePieceTokenizer(std::shared_ptr<const PieceModel> model)
      : model_(std::move(model)), added_tokens_([own = model_](std::string_view text) { return own->normalize(text); }) {}

  std::shared_ptr<const PieceModel> model_;
  int32_t vocab_size_ = 0;  // of the model's file
  AddedTokens added_tokens_;
  std::vector<int32_t> before_, after_;  // what comes around a text
  int32_t pad_token_id_ = 0;
  bool pads_left_ = false;
  int model_max_length_ = 0;
};

}  // namespace vivace
