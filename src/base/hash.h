// XXH3 of 128 bits: names what bytes are. Not for secrets: whoever wants two contents with one hash can make them.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace vivace {

struct Hash128 {
  uint64_t low = 0, high = 0;
  auto operator<=>(const Hash128&) const = default;
};

Hash128 hash128(const void* data, size_t bytes);
inline Hash128 hash128(std::string_view text) { return hash128(text.data(), text.size()); }
// As 32 hexadecimal digits.
std::string to_string(const Hash128& hash);
// For keys, which are to be short texts that say what they stand for.
inline std::string hash_text(std::string_view text) { return to_string(hash128(text)); }

}  // namespace vivace
