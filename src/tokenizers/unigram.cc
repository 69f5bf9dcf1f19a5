#include "tokenizers/unigram.h"

#include <sentencepiece_processor.h>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "tokenizers/precompiled_charsmap.h"
#include "tokenizers/sentencepiece_model.h"
#include "tokenizers/unicode.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr std::string_view kSpace = "\u2581";

class Unigram final : public PieceModel {
 public:
  // `model`: without a normaliser.
  Unigram(const std::string& model, PrecompiledCharsmap charsmap, const std::string& name) : charsmap_(std::move(charsmap)) {
    const auto status = processor_.LoadFromSerializedProto(model);
    if (!status.ok()) throw UserError(cat(name, ": no model of sentencepiece: ", status.ToString()));
  }

  // White space is what separates words, "\u2581" what begins one.
  void encode(std::string_view text, bool, std::vector<int32_t>& ids) const override {
    const std::string normalized = charsmap_.normalize(text);
    std::string word;
    for (size_t position = 0; position < normalized.size();) {
      const size_t start = position;
      const char32_t c = next_code_point(normalized, position);
      const std::string_view character = std::string_view(normalized).substr(start, position - start);
      const bool space = is_white_space(c);
      if (space || character == kSpace) add_word(word, ids);
      if (space) continue;
      if (word.empty() && character != kSpace) word = kSpace;
      word += character;
    }
    add_word(word, ids);
  }
  int32_t size() const override { return processor_.GetPieceSize(); }
  int32_t find(std::string_view piece) const override {
    const int id = processor_.PieceToId({piece.data(), piece.size()});
    return processor_.IdToPiece(id) == piece ? id : -1;
  }
  std::string text(int32_t id) const override { return processor_.IdToPiece(id); }

 private:
  void add_word(std::string& word, std::vector<int32_t>& ids) const {
    if (word.empty()) return;
    std::vector<int> found;
    if (const auto status = processor_.Encode(word, &found); !status.ok()) throw InternalError(cat("sentencepiece: ", status.ToString()));
    ids.insert(ids.end(), found.begin(), found.end());
    word.clear();
  }

  sentencepiece::SentencePieceProcessor processor_;
  PrecompiledCharsmap charsmap_;
};

}  // namespace

std::shared_ptr<const PieceModel> unigram_of_file(const std::string& bytes, const std::string& name) {
  return std::make_shared<Unigram>(without_normalizer(bytes), PrecompiledCharsmap(charsmap_of(bytes), name), name);
}

std::shared_ptr<const PieceModel> unigram_of_json(const nlohmann::json& json, const std::string& name) {
  const auto wrong = [&](const std::string& what) { throw UserError(cat(name, ": expected ", what)); };
  const nlohmann::json& model = json.at("model");
  if (!model.contains("vocab") || !model["vocab"].is_array() || !model.contains("unk_id") || !model["unk_id"].is_number_unsigned())
    wrong("a unigram model with a list \"vocab\" of pieces with their scores and an \"unk_id\"");
  std::vector<SentencePiece> pieces;
  PrecompiledCharsmap charsmap;
  for (const nlohmann::json& entry : model["vocab"]) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      wrong("pieces in \"model.vocab\" as [\"text\", score]");
    pieces.push_back({entry[0], entry[1].get<float>()});
  }
  const auto unknown = model["unk_id"].get<uint64_t>();
  if (unknown >= pieces.size()) wrong("\"model.unk_id\" to be an id of the vocabulary");
  for (const nlohmann::json& token : json.value("added_tokens", nlohmann::json::array()))
    if (const auto id = token.value("id", uint64_t{0}); id < pieces.size() && token.value("special", false))
      pieces[id].type = SentencePiece::Type::control;
  pieces[unknown].type = SentencePiece::Type::unknown;
  if (const auto normalizer = json.find("normalizer"); normalizer != json.end() && normalizer->is_object()) {
    nlohmann::json steps = nlohmann::json::array({*normalizer});
    if (normalizer->value("type", "") == "Sequence") steps = normalizer->value("normalizers", nlohmann::json::array());
    for (const nlohmann::json& step : steps)
      if (step.value("type", "") == "Precompiled" && step.contains("precompiled_charsmap") && step["precompiled_charsmap"].is_string())
        charsmap = PrecompiledCharsmap(
            decode_base64(step["precompiled_charsmap"].get_ref<const std::string&>(), name + ": \"normalizer.precompiled_charsmap\""), name);
  }
  return std::make_shared<Unigram>(serialize_unigram(pieces), std::move(charsmap), name);
}

}  // namespace vivace
