#include "tokenizers/precompiled_charsmap.h"

#include <utf8proc.h>

#include <cstring>

#include "base/log.h"
#include "tokenizers/unicode.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// A node of the double array.
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t value_of(uint32_t unit) { return unit & ((1u << 31) - 1); }
uint32_t label_of(uint32_t unit) { return unit & ((1u << 31) | 0xFF); }
uint32_t offset_of(uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }

// Longer clusters are normalised character by character.
constexpr size_t kLongestCluster = 5;

}  // namespace

PrecompiledCharsmap::PrecompiledCharsmap(std::string_view bytes, const std::string& name) {
  if (bytes.empty()) return;
  uint32_t size = 0;
  if (bytes.size() >= sizeof size) std::memcpy(&size, bytes.data(), sizeof size);
  if (size == 0 || size % sizeof(uint32_t) || size > bytes.size() - sizeof size)
    throw UserError(cat(name, ": the precompiled_charsmap is damaged: expected a trie and its texts"));
  trie_.resize(size / sizeof(uint32_t));
  std::memcpy(trie_.data(), bytes.data() + sizeof size, size);
  texts_ = std::string(bytes.substr(sizeof size + size)) + '\0';
}

std::optional<std::string_view> PrecompiledCharsmap::find(std::string_view text) const {
  size_t node = offset_of(trie_[0]);
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    node ^= byte;
    if (byte == 0 || node >= trie_.size() || label_of(trie_[node]) != byte) return std::nullopt;
    const bool leaf = has_leaf(trie_[node]);
    node ^= offset_of(trie_[node]);
    if (!leaf) continue;
    if (node >= trie_.size() || value_of(trie_[node]) >= texts_.size()) return std::nullopt;
    return std::string_view(texts_.data() + value_of(trie_[node]));
  }
  return std::nullopt;
}

std::string PrecompiledCharsmap::normalize(std::string_view text) const {
  if (trie_.empty()) return std::string(text);
  std::string out;
  out.reserve(text.size());
  for (size_t begin = 0; begin < text.size();) {
    // The grapheme cluster that begins here.
    utf8proc_int32_t state = 0;
    size_t end = begin;
    char32_t last = next_code_point(text, end);
    for (size_t next = end; next < text.size(); end = next) {
      const char32_t c = next_code_point(text, next);
      if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(last), static_cast<utf8proc_int32_t>(c), &state)) break;
      last = c;
    }
    const std::string_view cluster = text.substr(begin, end - begin);
    begin = end;
    if (const auto whole = cluster.size() <= kLongestCluster ? find(cluster) : std::nullopt) {
      out += *whole;
      continue;
    }
    for (size_t position = 0; position < cluster.size();) {
      const size_t start = position;
      next_code_point(cluster, position);
      const std::string_view character = cluster.substr(start, position - start);
      out += find(character).value_or(character);
    }
  }
  return out;
}

}  // namespace vivace
