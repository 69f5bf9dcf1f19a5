// For a build where the CUDA toolkit was not found, or not asked for.
#include "backends/cuda/libcuda.h"
#include "vivace/error.h"

namespace vivace::cuda {

std::unique_ptr<Driver> open_driver(int) {
  throw UserError("cuda: this build has no CUDA: build with -DVIVACE_CUDA=ON where the CUDA toolkit (12.4 or newer) is, or use --device cpu");
}

}  // namespace vivace::cuda
