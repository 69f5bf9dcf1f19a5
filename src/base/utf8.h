// Bytes from outside as UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace vivace {

// `text` with each part that is not UTF-8 replaced by U+FFFD, one for each maximal part of a sequence, as Python's errors="replace" does.
std::string to_valid_utf8(std::string_view text);
// Control characters, C0 and C1, as spaces: one line that steers no terminal.
std::string printable(std::string text);
// The beginning of any text in quotes, for messages.
std::string in_quotes(std::string_view text);

}  // namespace vivace
