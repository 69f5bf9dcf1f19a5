// The byte-pair models of Llama's tokenizers: characters are the first symbols, bytes ("<0xE2>") where the vocabulary lacks a character, and nothing
// where it lacks those, too.
#pragma once

#include "tokenizers/byte_pair_files.h"
#include "tokenizers/sentencepiece_model.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace vivace {

// What a text gets in front: "\u2581" where it does not begin so, each part between added tokens or the first alone, or nothing.
enum class PiecePrefix : uint8_t { always, first, never };

std::shared_ptr<const PieceModel> piece_pairs_of_files(BytePairFiles files, PiecePrefix prefix);
// Of a file of the sentencepiece library, called `name`, whose pieces say which pairs merge, the first ones first.
std::shared_ptr<const PieceModel> piece_pairs_of_model(const SentencePieceModel& model, const std::string& name, PiecePrefix prefix);

}  // namespace vivace
