#include "kernels.h"
//
#include "gemm.cuh"
#include "gemm_plain.cuh"

namespace host_cuda {

using namespace vivace::cuda;

std::span<const Kernel> gemm_kernels() {
  static constexpr Kernel list[] = {
      // conv, aligned, geglu
      KERNEL(GemmArguments, gemm<bf16, bf16, float, 64, 64, 32, 32, false, true, false>),
      KERNEL(GemmArguments, gemm<bf16, bf16, float, 64, 64, 32, 32, false, true, true>),
      KERNEL(GemmArguments, gemm<bf16, bf16, float, 64, 64, 32, 32, false, false, false>),
      KERNEL(GemmArguments, gemm<bf16, bf16, float, 64, 64, 32, 32, true, true, false>),
      KERNEL(GemmArguments, gemm<bf16, bf16, float, 64, 64, 32, 32, true, false, false>),
      KERNEL(GemmArguments, gemm<bf16, bf16, float, 128, 128, 64, 32, false, true, false>),
      KERNEL(GemmArguments, gemm<bf16, float, float, 64, 64, 32, 32, false, true, false>),
      KERNEL(GemmArguments, gemm<bf16, float, float, 64, 64, 32, 32, false, false, false>),
      KERNEL(GemmArguments, gemm<f16, f16, f16, 64, 64, 32, 32, false, true, false>),
      KERNEL(GemmArguments, gemm<signed char, bf16, float, 64, 64, 32, 32, false, true, false>),
      KERNEL(GemmArguments, gemm<signed char, bf16, float, 64, 64, 32, 32, false, true, true>),
      KERNEL(GemmArguments, gemm<signed char, bf16, float, 64, 64, 32, 32, false, false, false>),
      KERNEL(GemmArguments, gemm<signed char, float, float, 64, 64, 32, 32, false, true, false>),
      KERNEL(GemmArguments, gemm<signed char, float, float, 64, 64, 32, 32, false, true, true>),
      KERNEL(GemmArguments, gemm<f8e4m3, bf16, float, 64, 64, 32, 32, false, true, false>),
      KERNEL(GemmArguments, gemm<f8e4m3, bf16, float, 64, 64, 32, 32, false, true, true>),
      KERNEL(GemmArguments, gemm<f8e4m3, bf16, float, 64, 64, 32, 32, false, false, false>),
      KERNEL(GemmArguments, gemm<f8e4m3, float, float, 64, 64, 32, 32, false, true, false>),
      KERNEL(GemmArguments, gemm<f8e4m3, float, float, 64, 64, 32, 32, false, true, true>),
      KERNEL(GemmArguments, gemm<f8e4m3, float, float, 64, 64, 32, 32, false, false, false>),
      KERNEL(GemmArguments, gemm<bf16, float, float, 64, 64, 32, 32, false, true, true>),
      KERNEL(GemmArguments, gemm_plain<float, float, float, false, false>),
      KERNEL(GemmArguments, gemm_plain<float, float, float, false, true>),
      KERNEL(GemmArguments, gemm_plain<float, float, float, true, false>),
      KERNEL(GemmArguments, gemm_plain<bf16, bf16, float, false, false>),
  };
  return list;
}

}  // namespace host_cuda
