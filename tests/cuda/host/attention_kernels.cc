#include "kernels.h"
//
#include "attention.cuh"
#include "attention_plain.cuh"

namespace host_cuda {

using namespace vivace::cuda;

std::span<const Kernel> attention_kernels() {
  static constexpr Kernel list[] = {
      // head, slice, keys, stages, aligned
      KERNEL(AttentionArguments, attention<bf16, 16, 16, 64, 2, true>),
      KERNEL(AttentionArguments, attention<bf16, 32, 32, 64, 2, true>),
      KERNEL(AttentionArguments, attention<bf16, 48, 48, 64, 2, true>),
      KERNEL(AttentionArguments, attention<bf16, 16, 16, 64, 2, false>),
      KERNEL(AttentionArguments, attention<f16, 64, 64, 64, 2, true>),
      KERNEL(AttentionArguments, attention<bf16, 160, 128, 32, 2, true>),
      KERNEL(AttentionArguments, attention<bf16, 272, 128, 32, 1, true>),
      KERNEL(AttentionArguments, attention_plain<float, 32>),
      KERNEL(AttentionArguments, attention_plain<float, 64>),
      KERNEL(AttentionArguments, attention_plain<float, 96>),
      KERNEL(AttentionArguments, attention_plain<bf16, 32>),
      KERNEL(AttentionArguments, attention_plain<bf16, 64>),
  };
  return list;
}

}  // namespace host_cuda
