#include "tokenizers/byte_pair_encoding.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "tokenizers/unicode.h"

namespace vivace {
namespace {

constexpr bool spelled_as_itself(int byte) { return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD); }

struct ByteAlphabet {
  std::array<std::string, 256> spelling;
  std::array<int16_t, 0x100 + 256> byte_of;  // by code point, -1 where it spells no byte

  ByteAlphabet() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const char32_t code_point = spelled_as_itself(byte) ? byte : next++;
      append_code_point(spelling[byte], code_point);
      byte_of[code_point] = static_cast<int16_t>(byte);
    }
  }
};

const ByteAlphabet& alphabet() {
  static const ByteAlphabet instance;
  return instance;
}

}  // namespace

const std::string& byte_spelling(uint8_t byte) { return alphabet().spelling[byte]; }

void append_spelled_bytes(std::string& bytes, std::string_view token) {
  const auto& byte_of = alphabet().byte_of;
  const size_t start = bytes.size();
  for (size_t position = 0; position < token.size();) {
    const char32_t c = next_code_point(token, position);
    if (c >= byte_of.size() || byte_of[c] < 0) {
      bytes.resize(start);
      bytes += token;
      return;
    }
    bytes += static_cast<char>(byte_of[c]);
  }
}

BytePairEncoding::BytePairEncoding(const Vocabulary& vocabulary, std::string_view suffix, int32_t unknown) {
  for (int byte = 0; byte < 256; ++byte) {
    std::string spelling = byte_spelling(static_cast<uint8_t>(byte));
    const int32_t inner = vocabulary.find(spelling), last = vocabulary.find(spelling += suffix);
    inner_[byte] = inner >= 0 ? inner : unknown;
    last_[byte] = last >= 0 ? last : unknown;
  }
}

void BytePairEncoding::reserve_merges(size_t count) {
  std::vector<Merge> old(std::bit_ceil(std::max<size_t>(64, 2 * (count + 1))));
  old.swap(merges_);
  for (const Merge& merge : old)
    if (merge.pair != kNoPair) merges_[slot_of(merge.pair)] = merge;
}

size_t BytePairEncoding::slot_of(uint64_t pair) const {
  const int shift = 64 - std::countr_zero(merges_.size());
  size_t slot = (pair * 0x9E3779B97F4A7C15ull) >> shift;  // Fibonacci hashing: the high bits mix all of the pair
  while (merges_[slot].pair != kNoPair && merges_[slot].pair != pair) slot = (slot + 1) & (merges_.size() - 1);
  return slot;
}

void BytePairEncoding::add_merge(int32_t left, int32_t right, int32_t merged) {
  if (2 * (static_cast<size_t>(merge_count_) + 1) > merges_.size()) reserve_merges(2 * (static_cast<size_t>(merge_count_) + 1));
  Merge& merge = merges_[slot_of(pair_of(left, right))];
  if (merge.pair == kNoPair) ++merge_count_;
  merge = {pair_of(left, right), next_rank_++, merged};
}

const BytePairEncoding::Merge* BytePairEncoding::find(int32_t left, int32_t right) const {
  if (merges_.empty()) return nullptr;
  const Merge& merge = merges_[slot_of(pair_of(left, right))];
  return merge.pair == kNoPair ? nullptr : &merge;
}

void BytePairEncoding::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  std::vector<int32_t> bytes;
  bytes.reserve(word.size());
  for (const char c : word) bytes.push_back(inner_[static_cast<uint8_t>(c)]);
  if (!word.empty()) bytes.back() = last_[static_cast<uint8_t>(word.back())];
  merge(bytes, ids);
}

void BytePairEncoding::merge(std::span<const int32_t> first, std::vector<int32_t>& ids) const {
  constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  struct Symbol {
    int32_t id;
    uint32_t previous, next;
  };
  struct Candidate {
    uint32_t rank, position;
    int32_t merged;
    // Of two equal pairs the left one goes first. std::push_heap keeps the greatest on top, so the order is turned round.
    bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : position > other.position; }
  };
  if (first.empty()) return;
  const auto count = static_cast<uint32_t>(first.size());
  std::vector<Symbol> symbols(count);
  std::vector<Candidate> candidates;
  const auto consider = [&](uint32_t position) {
    const Symbol& symbol = symbols[position];
    if (symbol.next == kNone) return;
    if (const Merge* found = find(symbol.id, symbols[symbol.next].id)) {
      candidates.push_back({found->rank, position, found->merged});
      std::push_heap(candidates.begin(), candidates.end());
    }
  };
  for (uint32_t i = 0; i < count; ++i) symbols[i] = {first[i], i > 0 ? i - 1 : kNone, i + 1 < count ? i + 1 : kNone};
  for (uint32_t i = 0; i < count; ++i) consider(i);

  constexpr int32_t kGone = -1;
  while (!candidates.empty()) {
    std::pop_heap(candidates.begin(), candidates.end());
    const Candidate best = candidates.back();
    candidates.pop_back();
    Symbol& left = symbols[best.position];
    if (left.id == kGone || left.next == kNone) continue;
    Symbol& right = symbols[left.next];
    // The symbols may have changed since the candidate was noted.
    const Merge* now = find(left.id, right.id);
    if (!now || now->merged != best.merged) continue;
    left.id = best.merged;
    right.id = kGone;
    left.next = right.next;
    if (right.next != kNone) symbols[right.next].previous = best.position;
    if (left.previous != kNone) consider(left.previous);
    consider(best.position);
  }
  for (uint32_t i = 0; i != kNone; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace vivace
