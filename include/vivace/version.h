// Which Vivace this is.
#pragma once

#include "vivace/api.h"

// Of these headers. CMakeLists.txt reads it here.
#define VIVACE_VERSION "0.1.0"

namespace vivace VIVACE_API {

// Of the library that runs, which may be another one.
const char* version();

}  // namespace VIVACE_API
