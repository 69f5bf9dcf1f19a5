// The unigram models of T5: of all ways to cut a word into pieces the one with the greatest sum of scores.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "tokenizers/sentencepiece_model.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace vivace {

// Of a file of the sentencepiece library, called `name`.
std::shared_ptr<const PieceModel> unigram_of_model(const SentencePieceModel& model, const std::string& name);
// `json`: a tokenizer.json whose model is "Unigram". Throws UserError that names the file.
std::shared_ptr<const PieceModel> unigram_of_json(const nlohmann::json& json, const std::string& name);

}  // namespace vivace
