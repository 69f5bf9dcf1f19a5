// The byte-pair models of Llama's tokenizers: characters are the first symbols, bytes ("<0xE2>") where the vocabulary lacks a character.
#pragma once

#include "tokenizers/byte_pair_files.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace vivace {

std::shared_ptr<const PieceModel> piece_pairs_of_files(BytePairFiles files, int32_t unknown);
// `bytes`: a file of the sentencepiece library, whose scores say the order of the merges. Throws UserError that names the file.
std::shared_ptr<const PieceModel> piece_pairs_of_model(const std::string& bytes, const std::string& name);

}  // namespace vivace
