#include "tokenizers/piece_pairs.h"

#include <algorithm>
#include <array>
#include <cstdio>

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
  PiecePairs(BytePairFiles files, PiecePrefix prefix) : vocabulary_(std::move(files.vocabulary)), prefix_(prefix) {
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
    const bool prefixed = prefix_ == PiecePrefix::always || (prefix_ == PiecePrefix::first && first);
    if (prefixed && !spelled.starts_with(kSpace)) spelled.insert(0, kSpace);
    std::vector<int32_t> symbols;
    for (size_t position = 0; position < spelled.size();) {
      const size_t start = position;
      next_code_point(spelled, position);
      add_character(std::string_view(spelled).substr(start, position - start), symbols);
    }
    encoding_.merge(symbols, ids);
  }
  int32_t size() const override { return vocabulary_.size(); }
  int32_t find(std::string_view piece) const override { return vocabulary_.find(piece); }
  std::string text(int32_t id) const override { return vocabulary_.contains(id) ? std::string(vocabulary_.text(id)) : std::string(); }

 private:
  void add_character(std::string_view character, std::vector<int32_t>& symbols) const {
    if (const int32_t id = vocabulary_.find(character); id >= 0) return symbols.push_back(id);
    const auto of_byte = [&](char c) { return bytes_[static_cast<uint8_t>(c)]; };
    if (std::ranges::any_of(character, [&](char c) { return of_byte(c) < 0; })) return;
    for (const char c : character) symbols.push_back(of_byte(c));
  }

  Vocabulary vocabulary_;
  BytePairEncoding encoding_;
  std::array<int32_t, 256> bytes_{};
  PiecePrefix prefix_;
};

}  // namespace

std::shared_ptr<const PieceModel> piece_pairs_of_files(BytePairFiles files, PiecePrefix prefix) {
  return std::make_shared<PiecePairs>(std::move(files), prefix);
}

std::shared_ptr<const PieceModel> piece_pairs_of_model(const SentencePieceModel& model, const std::string& name, PiecePrefix prefix) {
  BytePairFiles files;
  files.vocabulary_name = files.merges_name = name;
  for (size_t id = 0; id < model.pieces.size(); ++id)
    if (id > static_cast<size_t>(Vocabulary::kMaxId) ||
        files.vocabulary.add(model.pieces[id].text, static_cast<int32_t>(id)) != Vocabulary::Added::yes)
      throw UserError(cat(name, ": piece ", in_quotes(model.pieces[id].text), " stands there twice"));
  // Every way to put a piece together from two others, in transformers' order: by the piece, which are sorted by their scores, then by where it is
  // cut.
  for (const SentencePiece& piece : model.pieces)
    for (size_t cut = 0; cut < piece.text.size();) {
      next_code_point(piece.text, cut);
      std::string left = piece.text.substr(0, cut), right = piece.text.substr(cut);
      if (files.vocabulary.find(left) >= 0 && files.vocabulary.find(right) >= 0) files.merges.push_back({std::move(left), std::move(right)});
    }
  return piece_pairs_of_files(std::move(files), prefix);
}

}  // namespace vivace
