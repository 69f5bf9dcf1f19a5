#include "kernels.h"

#include <stdexcept>

namespace host_cuda {
namespace {

const Kernel* find(std::string_view function) {
  for (const auto& list : {norm_kernels(), movement_kernels(), gemm_kernels(), attention_kernels()})
    for (const Kernel& kernel : list)
      if (kernel.function == function) return &kernel;
  return nullptr;
}

}  // namespace

bool has(std::string_view function) { return find(function) != nullptr; }

void run(const vivace::cuda::Launch& launch, const void* arguments, unsigned seed) {
  const Kernel* const kernel = find(launch.function);
  if (!kernel) throw std::runtime_error(launch.function + " is not compiled for the host: give it a line in tests/cuda/host");
  run({.grid = {launch.grid[0], launch.grid[1], launch.grid[2]}, .block = launch.block, .shared = launch.shared, .seed = seed},
      [&] { kernel->run(arguments); });
}

}  // namespace host_cuda
