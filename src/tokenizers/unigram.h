// The unigram models of T5.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "tokenizers/sentencepiece_tokenizer.h"

namespace vivace {

// `bytes`: a file of the sentencepiece library. Throws UserError that names the file.
std::shared_ptr<const PieceModel> unigram_of_file(const std::string& bytes, const std::string& name);
// `json`: a tokenizer.json whose model is "Unigram".
std::shared_ptr<const PieceModel> unigram_of_json(const nlohmann::json& json, const std::string& name);

}  // namespace vivace
