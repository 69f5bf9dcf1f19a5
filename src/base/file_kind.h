// What a file is by its first bytes, for messages about one that is not what its name says.
#pragma once

#include <string>
#include <string_view>

namespace vivace {

// ": it is an HTML page"; empty where the bytes say nothing.
std::string file_kind_note(std::string_view begin);

}  // namespace vivace
