#include "tokenizers/piece_pairs.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <tuple>

#include "base/log.h"
#include "base/utf8.h"
#include "tokenizers/byte_pair_encoding.h"
#include "tokenizers/unicode.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr std::string_view kSpace = "\u2581";

class PiecePairs final : public PieceModel {
 public:
  PiecePairs(BytePairFiles files, int32_t unknown) : vocabulary_(std::move(files.vocabulary)), unknown_(unknown) {
    for (int byte = 0; byte < 256; ++byte) {
      std::array<char, 8> spelling;
      std::snprintf(spelling.data(), spelling.size(), "<0x%02X>", byte);
      bytes_[static_cast<size_t>(byte)] = vocabulary_.find(spelling.data());
    }
    encoding_.reserve_merges(files.merges.size());
    for (const auto& [left, right] : files.merges) {
      const int32_t left_id = vocabulary_.find(left), right_id = vocabulary_.find(right), merged = vocabulary_.find(left + right);
      if (std::min({left_id, right_id, merged}) < 0)
        throw UserError(cat(files.merges_name, ": merge of ", in_quotes(left), " and ", in_quotes(right),
                            ": expected both and the two together in the vocabulary"));
      encoding_.add_merge(left_id, right_id, merged);
    }
  }

  void encode(std::string_view text, bool first, std::vector<int32_t>& ids) const override {
    std::string spelled;
    for (const char c : text) c == ' ' ? spelled += kSpace : spelled += c;
    if (first && !spelled.starts_with(kSpace)) spelled.insert(0, kSpace);
    std::vector<int32_t> symbols;
    bool after_unknown = false;  // a run of them is one
    for (size_t position = 0; position < spelled.size();) {
      const size_t start = position;
      next_code_point(spelled, position);
      const std::string_view character = std::string_view(spelled).substr(start, position - start);
      const bool unknown = !add_character(character, symbols);
      if (unknown && !after_unknown) symbols.push_back(unknown_);
      after_unknown = unknown;
    }
    encoding_.merge(symbols, ids);
  }
  int32_t size() const override { return vocabulary_.size(); }
  int32_t find(std::string_view piece) const override { return vocabulary_.find(piece); }
  std::string text(int32_t id) const override { return vocabulary_.contains(id) ? std::string(vocabulary_.text(id)) : std::string(); }

 private:
  bool add_character(std::string_view character, std::vector<int32_t>& symbols) const {
    if (const int32_t id = vocabulary_.find(character); id >= 0) {
      symbols.push_back(id);
      return true;
    }
    const auto of_byte = [&](char c) { return bytes_[static_cast<uint8_t>(c)]; };
    if (std::ranges::any_of(character, [&](char c) { return of_byte(c) < 0; })) return false;
    for (const char c : character) symbols.push_back(of_byte(c));
    return true;
  }

  Vocabulary vocabulary_;
  BytePairEncoding encoding_;
  std::array<int32_t, 256> bytes_{};
  int32_t unknown_;
};

}  // namespace

std::shared_ptr<const PieceModel> piece_pairs_of_files(BytePairFiles files, int32_t unknown) {
  return std::make_shared<PiecePairs>(std::move(files), unknown);
}

std::shared_ptr<const PieceModel> piece_pairs_of_model(const std::string& bytes, const std::string& name) {
  sentencepiece::SentencePieceProcessor model;
  if (const auto status = model.LoadFromSerializedProto(bytes); !status.ok())
    throw UserError(cat(name, ": no model of sentencepiece: ", status.ToString()));
  BytePairFiles files;
  files.vocabulary_name = files.merges_name = name;
  for (int id = 0; id < model.GetPieceSize(); ++id)
    if (files.vocabulary.add(model.IdToPiece(id), id) != Vocabulary::Added::yes)
      throw UserError(cat(name, ": piece ", in_quotes(model.IdToPiece(id)), " stands there twice"));
  // Every way to put a piece together from two others, the best pieces first; transformers' order where the scores are equal.
  using Place = std::tuple<float, size_t, size_t>;  // score, sizes of the parts in characters
  std::vector<std::pair<Place, BytePairFiles::Merge>> found;
  for (int id = 0; id < model.GetPieceSize(); ++id) {
    if (model.IsControl(id) || model.IsUnknown(id) || model.IsByte(id)) continue;
    const std::string& piece = model.IdToPiece(id);
    std::vector<size_t> cuts;
    for (size_t position = 0; position < piece.size();) {
      next_code_point(piece, position);
      cuts.push_back(position);
    }
    std::vector<std::pair<std::pair<int32_t, int32_t>, std::pair<Place, BytePairFiles::Merge>>> ways;
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      const std::string left = piece.substr(0, cuts[i]), right = piece.substr(cuts[i]);
      const int32_t l = files.vocabulary.find(left), r = files.vocabulary.find(right);
      if (l >= 0 && r >= 0) ways.push_back({{l, r}, {{model.GetScore(id), i + 1, cuts.size() - i - 1}, {left, right}}});
    }
    std::ranges::stable_sort(ways, {}, [](const auto& way) { return way.first; });
    for (auto& way : ways) found.push_back(std::move(way.second));
  }
  std::ranges::stable_sort(found, std::ranges::greater(), [](const auto& entry) { return entry.first; });
  for (auto& [place, merge] : found) files.merges.push_back(std::move(merge));
  const int32_t unknown = model.unk_id();
  return piece_pairs_of_files(std::move(files), unknown);
}

}  // namespace vivace
