// Launches of kernels as data: which instance of which source, over which grid. Nothing here needs CUDA; a device turns it into code by NVRTC, for
// the GPU at hand, and the tests into a function that runs on the host.
#pragma once

#include <string>
#include <string_view>

#include "vivace/dtype.h"

namespace vivace::cuda {

struct Launch {
  std::string source;     // the file that defines it: "row_norm.cuh"
  std::string function;   // an instance of a __device__ function template: "row_norm<bf16, float, bf16, false>"
  std::string arguments;  // the type of its one argument, of arguments.cuh
  unsigned grid[3] = {1, 1, 1};
  unsigned block = 128;  // threads, a multiple of 32
  unsigned shared = 0;   // bytes of dynamic shared memory, 99 KB at most: what every GPU since sm_80 has
};
inline constexpr unsigned kMostShared = 99 << 10;

template <class Arguments>
struct Call {
  Launch launch;
  Arguments arguments;
};

// A translation unit with one entry, `extern "C" __global__ void kernel(ARGUMENTS)`.
std::string module_text(const Launch& launch);

// What kernels call a dtype; InternalError for one that they have not.
std::string_view type_name(DType dtype);

// ceil(a / b), for grids.
inline unsigned blocks_for(int64_t a, int64_t b) { return static_cast<unsigned>((a + b - 1) / b); }

}  // namespace vivace::cuda
