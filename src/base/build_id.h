// Which build of the library this is.
#pragma once

#include <string>

namespace vivace {

// The linker's build id (a hash of the code) of the file that this function lies in, in hexadecimal: two builds with the same id compile and pack
// alike. Empty where the linker wrote none.
const std::string& build_id();

}  // namespace vivace
