// A tile kernel on the host, from the arguments that its printed source would read: by the CPU's interpreter. (The printed source itself is compiled
// and compared with that interpreter in tests/codegen.)
#pragma once

#include "backends/cuda/driver.h"

namespace vivace::cuda {

void run_tile(const TileKernel& kernel, const void* arguments);

}  // namespace vivace::cuda
