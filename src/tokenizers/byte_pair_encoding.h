// Byte-level byte-pair encoding: a word's bytes are the first symbols, and the best-ranked pair of neighbours is merged until none is left.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizers/vocabulary.h"

namespace vivace {

// How vocabularies spell a byte: printable Latin-1 as itself, the others as the code points from U+0100 on, in order. UTF-8.
const std::string& byte_spelling(uint8_t byte);
// The bytes that `token` spells, appended; a token with a character that spells no byte stands for itself.
void append_spelled_bytes(std::string& bytes, std::string_view token);

class BytePairEncoding {
 public:
  BytePairEncoding() = default;
  // `suffix` marks the last byte of a word ("</w>"); `unknown` stands for a byte that the vocabulary lacks.
  BytePairEncoding(const Vocabulary& vocabulary, std::string_view suffix, int32_t unknown);

  // Merges come in order, the best first; a pair that comes again gets the later rank.
  void reserve_merges(size_t count);
  void add_merge(int32_t left, int32_t right, int32_t merged);

  // The tokens of one word, appended. Takes n log n steps for n bytes.
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;
  // What merging makes of symbols, appended.
  void merge(std::span<const int32_t> first, std::vector<int32_t>& ids) const;

 private:
  struct Merge {
    uint64_t pair = kNoPair;
    uint32_t rank = 0;
    int32_t merged = -1;
  };
  static constexpr uint64_t kNoPair = UINT64_MAX;
  static uint64_t pair_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t slot_of(uint64_t pair) const;
  // nullptr where the two do not merge.
  const Merge* find(int32_t left, int32_t right) const;

  std::array<int32_t, 256> inner_{}, last_{};  // the symbol of a byte inside a word and at its end
  std::vector<Merge> merges_;                  // open addressing, a power of two, at most half full
  uint32_t merge_count_ = 0, next_rank_ = 0;
};

}  // namespace vivace
