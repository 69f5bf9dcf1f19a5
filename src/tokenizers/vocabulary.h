// The tokens of a vocabulary, found by their text and by their id.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vivace {

class Vocabulary {
 public:
  // Ids reach from 0 to kMaxId; a bound, so that a broken file cannot ask for all the memory there is.
  static constexpr int32_t kMaxId = (1 << 22) - 1;
  enum class Added { yes, text_taken, id_taken };

  // `id` must be from 0 to kMaxId. Changes nothing where the text or the id is there already.
  Added add(std::string_view text, int32_t id);
  // The token's id, -1 if there is none of that text.
  int32_t find(std::string_view text) const;
  // Whether a token has this id, any number being allowed.
  bool contains(int32_t id) const { return id >= 0 && id < static_cast<int32_t>(spans_.size()) && spans_[id].length != kNoToken; }
  // The token's text; `id` must be there.
  std::string_view text(int32_t id) const { return std::string_view(texts_).substr(spans_[id].offset, spans_[id].length); }
  // The number of tokens.
  int32_t size() const { return size_; }

 private:
  static constexpr uint32_t kNoToken = UINT32_MAX;
  struct Span {
    uint32_t offset = 0, length = kNoToken;
  };
  struct Slot {
    uint32_t hash = 0;
    int32_t id = -1;
  };
  // The slot that holds `text`, or the free one where it belongs.
  size_t slot_of(std::string_view text, uint32_t hash) const;
  void grow();

  std::string texts_;        // all texts, one after the other
  std::vector<Span> spans_;  // by id
  std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
  int32_t size_ = 0;
};

}  // namespace vivace
