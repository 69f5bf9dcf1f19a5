# The host's side of the CUDA kernels, and their text as a source file. Plain C++: nothing here needs the CUDA toolkit.
set(cuda_kernels ${CMAKE_CURRENT_LIST_DIR})
set(cuda_sources)
foreach(name arguments attention attention_plain gemm gemm_finish gemm_load gemm_plain group_norm movement numbers ptx quantize row_norm softmax step tables tensor_cores)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${cuda_kernels}/${name}.cuh)
  file(READ ${cuda_kernels}/${name}.cuh text)
  string(APPEND cuda_sources "    {\"${name}.cuh\", R\"cuda(${text})cuda\"},\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/cuda_kernel_sources.cc @ONLY CONTENT [[
#include "backends/cuda/kernels/sources.h"

namespace vivace::cuda {

std::span<const KernelSource> kernel_sources() {
  static constexpr KernelSource list[] = {
@cuda_sources@  };
  return list;
}

}  // namespace vivace::cuda
]])
target_sources(vivace_backends PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/cuda_kernel_sources.cc ${cuda_kernels}/attention.cc ${cuda_kernels}/gemm.cc ${cuda_kernels}/launch.cc
  ${cuda_kernels}/movement.cc ${cuda_kernels}/norm.cc ${cuda_kernels}/step.cc)
