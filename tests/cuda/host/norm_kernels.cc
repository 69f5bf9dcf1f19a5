#include "kernels.h"
//
#include "group_norm.cuh"
#include "row_norm.cuh"
#include "softmax.cuh"

namespace host_cuda {

using namespace vivace::cuda;

std::span<const Kernel> norm_kernels() {
  static constexpr Kernel list[] = {
      KERNEL(RowNormArguments, row_norm<float, float, float, false>),
      KERNEL(RowNormArguments, row_norm<float, float, float, true>),
      KERNEL(RowNormArguments, row_norm<bf16, float, bf16, false>),
      KERNEL(RowNormArguments, row_norm<bf16, float, bf16, true>),
      KERNEL(RowNormArguments, row_norm<bf16, bf16, bf16, false>),
      KERNEL(RowNormArguments, row_norm<f16, f16, f16, false>),
      KERNEL(RowNormArguments, row_norm<float, float, unsigned char, false>),
      KERNEL(RowNormArguments, row_norm<bf16, float, unsigned char, false>),
      KERNEL(RowNormArguments, row_norm<bf16, float, unsigned char, true>),
      KERNEL(RowNormArguments, row_norm<float, float, f8e4m3, false>),
      KERNEL(RowNormArguments, row_norm<bf16, float, f8e4m3, false>),
      KERNEL(RowNormArguments, row_norm<bf16, float, f8e4m3, true>),
      KERNEL(GroupNormArguments, group_norm_moments<float>),
      KERNEL(GroupNormArguments, group_norm_moments<bf16>),
      KERNEL(GroupNormArguments, group_norm_apply<float, float>),
      KERNEL(GroupNormArguments, group_norm_apply<bf16, float>),
      KERNEL(SoftmaxArguments, softmax<float, float>),
      KERNEL(SoftmaxArguments, softmax<float, bf16>),
      KERNEL(SoftmaxArguments, softmax<bf16, bf16>),
      KERNEL(RotaryArguments, rotary<float>),
      KERNEL(RotaryArguments, rotary<bf16>),
  };
  return list;
}

}  // namespace host_cuda
