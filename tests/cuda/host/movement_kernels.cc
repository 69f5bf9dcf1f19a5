#include "kernels.h"
//
#include "random.cuh"
#include "step.cuh"
#include "tables.cuh"

namespace host_cuda {

using namespace vivace::cuda;

std::span<const Kernel> movement_kernels() {
  static constexpr Kernel list[] = {
      KERNEL(CopyArguments, strided_copy<unsigned char>),
      KERNEL(CopyArguments, strided_copy<unsigned short>),
      KERNEL(CopyArguments, strided_copy<unsigned>),
      KERNEL(CopyArguments, strided_copy<unsigned long long>),
      KERNEL(CopyArguments, strided_copy<Wide<unsigned>>),
      KERNEL(GatherArguments, gather<unsigned short>),
      KERNEL(GatherArguments, gather<unsigned>),
      KERNEL(GatherArguments, gather<unsigned long long>),
      KERNEL(GatherArguments, gather<Wide<unsigned>>),
      KERNEL(UpsampleArguments, upsample<unsigned short>),
      KERNEL(UpsampleArguments, upsample<unsigned>),
      KERNEL(UpsampleArguments, upsample<unsigned long long>),
      KERNEL(UpsampleArguments, upsample<Wide<unsigned>>),
      KERNEL(FindArguments, find),
      KERNEL(ReduceArguments, reduce<float, float, false>),
      KERNEL(ReduceArguments, reduce<float, float, true>),
      KERNEL(ReduceArguments, reduce<bf16, bf16, false>),
      KERNEL(DequantizeArguments, dequantize<signed char, bf16>),
      KERNEL(DequantizeArguments, dequantize<f8e4m3, bf16>),
      KERNEL(DequantizeArguments, dequantize<f8e4m3, float>),
      KERNEL(TableArguments, fill<float>),
      KERNEL(TableArguments, fill<bf16>),
      KERNEL(TableArguments, causal_mask),
      KERNEL(TableArguments, sinusoid),
      KERNEL(TableArguments, rotary_table),
      KERNEL(TableArguments, relative_position_bias<float>),
      KERNEL(StepArguments, combine),
      KERNEL(AdvanceArguments, advance),
      KERNEL(RandomArguments, random_numbers),
      KERNEL(ElementwiseArguments, elementwise<0, float, float, float>),
      KERNEL(ElementwiseArguments, elementwise<0, bf16, bf16, bf16>),
      KERNEL(ElementwiseArguments, elementwise<1, float, float, float>),
      KERNEL(ElementwiseArguments, elementwise<2, float, float, float>),
      KERNEL(ElementwiseArguments, elementwise<2, bf16, float, bf16>),
      KERNEL(ElementwiseArguments, elementwise<3, float, float, float>),
      KERNEL(ElementwiseArguments, elementwise<4, float, float, float>),
      KERNEL(ElementwiseArguments, elementwise<5, float, float, float>),
      KERNEL(ElementwiseArguments, elementwise<6, float, float, float>),
      KERNEL(ElementwiseArguments, elementwise<6, float, float, bf16>),
      KERNEL(ElementwiseArguments, elementwise<6, bf16, bf16, float>),
      KERNEL(ElementwiseArguments, elementwise<6, int, int, float>),
      KERNEL(ElementwiseArguments, elementwise<7, float, float, float>),
      KERNEL(ElementwiseArguments, elementwise<9, float, float, float>),
      KERNEL(ElementwiseArguments, elementwise<10, float, float, float>),
      KERNEL(ElementwiseArguments, elementwise<11, float, float, float>),
      KERNEL(ElementwiseArguments, elementwise<12, float, float, float>),
      KERNEL(ElementwiseArguments, elementwise<13, float, float, float>),
  };
  return list;
}

}  // namespace host_cuda
