#include "tokenizers/unigram.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/utf8.h"
#include "tokenizers/precompiled_charsmap.h"
#include "tokenizers/unicode.h"
#include "tokenizers/vocabulary.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr std::string_view kSpace = "\u2581";
constexpr double kUnknownPenalty = 10;  // that what is unknown lies below the least score

class Unigram final : public PieceModel {
 public:
  // Pieces are added by id, before anything is encoded.
  Unigram(int32_t unknown, PrecompiledCharsmap charsmap, const std::string& name) : unknown_(unknown), charsmap_(std::move(charsmap)), name_(name) {}
  void add(const std::string& piece, double score) {
    if (piece.empty()) throw UserError(cat(name_, ": piece ", scores_.size(), " is empty: expected a text"));
    if (scores_.size() > static_cast<size_t>(Vocabulary::kMaxId)) throw UserError(cat(name_, ": more than ", Vocabulary::kMaxId + 1, " pieces"));
    if (vocabulary_.add(piece, static_cast<int32_t>(scores_.size())) != Vocabulary::Added::yes)
      throw UserError(cat(name_, ": piece ", in_quotes(piece), " stands there twice"));
    scores_.push_back(score);
    least_score_ = std::min(least_score_, score);
    longest_ = std::max(longest_, piece.size());
  }

  std::string normalize(std::string_view text) const override { return charsmap_.normalize(text); }
  // White space is what separates words, "\u2581" what begins one.
  void encode(std::string_view normalized, bool, std::vector<int32_t>& ids) const override {
    std::string word;
    for (size_t position = 0; position < normalized.size();) {
      const size_t start = position;
      const char32_t c = next_code_point(normalized, position);
      const std::string_view character = normalized.substr(start, position - start);
      const bool space = is_white_space(c);
      if (space || character == kSpace) add_word(word, ids);
      if (space) continue;
      if (word.empty() && character != kSpace) word = kSpace;
      word += character;
    }
    add_word(word, ids);
  }
  int32_t size() const override { return vocabulary_.size(); }
  int32_t find(std::string_view piece) const override { return vocabulary_.find(piece); }
  std::string text(int32_t id) const override { return std::string(vocabulary_.text(id)); }

 private:
  static constexpr size_t kNowhere = std::numeric_limits<size_t>::max();
  // The best way to cut the word up to a place: its sum, and the last piece.
  struct Way {
    double score = 0;
    size_t start = kNowhere;
    int32_t id = 0;
  };

  // As the tokenizers library goes through them: of equal ways the first one stays. The sums are doubles, in which those of a file's floats are
  // exact, so that "!!!!" is cut alike however long the text before it is.
  void add_word(std::string& word, std::vector<int32_t>& ids) const {
    if (word.empty()) return;
    const std::string_view text = word;
    std::vector<Way> best(text.size() + 1);
    for (size_t start = 0, next = 0; start < text.size(); start = next) {
      const double before = best[start].score;
      const auto take = [&](size_t end, int32_t id, double score) {
        if (Way& way = best[end]; way.start == kNowhere || before + score > way.score) way = {before + score, start, id};
      };
      next_code_point(text, next);
      bool known = false;  // the character alone
      for (size_t end = next; end - start <= longest_; next_code_point(text, end)) {
        if (const int32_t id = vocabulary_.find(text.substr(start, end - start)); id >= 0) {
          take(end, id, scores_[static_cast<size_t>(id)]);
          known |= end == next;
        }
        if (end == text.size()) break;
      }
      if (!known) take(next, unknown_, least_score_ - kUnknownPenalty);
    }
    const auto first = static_cast<ptrdiff_t>(ids.size());
    for (size_t end = text.size(); end > 0; end = best[end].start)
      if (const int32_t id = best[end].id; id != unknown_ || std::ssize(ids) == first || ids.back() != unknown_) ids.push_back(id);  // a run is one
    std::reverse(ids.begin() + first, ids.end());
    word.clear();
  }

  int32_t unknown_;
  PrecompiledCharsmap charsmap_;
  std::string name_;
  Vocabulary vocabulary_;
  std::vector<double> scores_;  // by id
  double least_score_ = std::numeric_limits<double>::infinity();
  size_t longest_ = 0;  // piece, in bytes
};

}  // namespace

std::shared_ptr<const PieceModel> unigram_of_model(const SentencePieceModel& model, const std::string& name) {
  auto unigram = std::make_shared<Unigram>(model.unknown, PrecompiledCharsmap(model.charsmap, name), name);
  for (const SentencePiece& piece : model.pieces) unigram->add(piece.text, piece.score);
  return unigram;
}

std::shared_ptr<const PieceModel> unigram_of_json(const nlohmann::json& json, const std::string& name) {
  const auto wrong = [&](const std::string& what) { throw UserError(cat(name, ": expected ", what)); };
  const nlohmann::json& model = json.at("model");
  if (!model.contains("vocab") || !model["vocab"].is_array() || !model.contains("unk_id") || !model["unk_id"].is_number_unsigned())
    wrong("a unigram model with a list \"vocab\" of pieces with their scores and an \"unk_id\"");
  const auto unknown = model["unk_id"].get<uint64_t>();
  if (unknown >= model["vocab"].size()) wrong("\"model.unk_id\" to be an id of the vocabulary");
  PrecompiledCharsmap charsmap;
  if (const auto normalizer = json.find("normalizer"); normalizer != json.end() && normalizer->is_object()) {
    nlohmann::json steps = nlohmann::json::array({*normalizer});
    if (normalizer->value("type", "") == "Sequence") steps = normalizer->value("normalizers", nlohmann::json::array());
    for (const nlohmann::json& step : steps)
      if (step.value("type", "") == "Precompiled" && step.contains("precompiled_charsmap") && step["precompiled_charsmap"].is_string())
        charsmap = PrecompiledCharsmap(
            decode_base64(step["precompiled_charsmap"].get_ref<const std::string&>(), name + ": \"normalizer.precompiled_charsmap\""), name);
  }
  auto unigram = std::make_shared<Unigram>(static_cast<int32_t>(unknown), std::move(charsmap), name);
  for (const nlohmann::json& entry : model["vocab"]) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      wrong("pieces in \"model.vocab\" as [\"text\", score]");
    unigram->add(entry[0], entry[1].get<double>());
  }
  return unigram;
}

}  // namespace vivace
