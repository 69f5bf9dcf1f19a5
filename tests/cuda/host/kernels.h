// The kernels of src/backends/cuda/kernels as they are compiled for the host: by the function's text in a Launch.
#pragma once

#include <span>
#include <string_view>

#include "backends/cuda/kernels/launch.h"
#include "block.h"

namespace host_cuda {

struct Kernel {
  std::string_view function;  // Launch::function
  void (*run)(const void* arguments);
};
// A list a family; an instance is compiled for the host when it has a line there.
std::span<const Kernel> norm_kernels();
std::span<const Kernel> movement_kernels();
std::span<const Kernel> gemm_kernels();
std::span<const Kernel> attention_kernels();

// Whether a list has the instance.
bool has(std::string_view function);
// Throws std::runtime_error naming what went wrong first, or the instance that no list has.
void run(const vivace::cuda::Launch& launch, const void* arguments, unsigned seed = 0);
template <class Arguments>
void run(const vivace::cuda::Call<Arguments>& call, unsigned seed = 0) {
  run(call.launch, &call.arguments, seed);
}

}  // namespace host_cuda

// A line of a list: KERNEL(RowNormArguments, row_norm<float, float, float, false>).
#define KERNEL(Arguments, ...)                                                                                                      \
  {                                                                                                                                 \
#__VA_ARGS__, [](const void* arguments) { vivace::cuda::__VA_ARGS__(*static_cast<const vivace::cuda::Arguments*>(arguments)); } \
  }
