// Numbers as people write them: decimal, whole, and within the range of their type.
#pragma once

#include <string>
#include <string_view>

namespace vivace {

// The number that all of `text` is; `name` says in messages what it is of. T: int, int64_t, uint32_t, uint64_t or double. "010" is ten. Throws
// UsageError for anything else, be it hexadecimal, "1e3" for an integer, out of range, not finite, or with spaces.
template <class T>
T parse_number(std::string_view text, std::string_view name);

// The shortest text that reads as this number again, in any locale: "0.1", "1e+20", "inf".
std::string number_text(double value);

}  // namespace vivace
