#include "kernels.h"
//
#include "quantize.cuh"
#include "step.cuh"
#include "tables.cuh"

namespace host_cuda {

using namespace vivace::cuda;

// In each dtype of activations.
#define KERNEL_OF_EACH(Arguments, name) KERNEL(Arguments, name<float>), KERNEL(Arguments, name<bf16>), KERNEL(Arguments, name<f16>)

std::span<const Kernel> movement_kernels() {
  static constexpr Kernel list[] = {
      KERNEL(CopyArguments, strided_copy<unsigned char, unsigned>),
      KERNEL(CopyArguments, strided_copy<unsigned short, unsigned>),
      KERNEL(CopyArguments, strided_copy<unsigned, unsigned>),
      KERNEL(CopyArguments, strided_copy<unsigned long long, unsigned>),
      KERNEL(CopyArguments, strided_copy<Wide<unsigned>, unsigned>),
      KERNEL(GatherArguments, gather<unsigned short, unsigned>),
      KERNEL(GatherArguments, gather<unsigned, unsigned>),
      KERNEL(GatherArguments, gather<unsigned long long, unsigned>),
      KERNEL(GatherArguments, gather<Wide<unsigned>, unsigned>),
      KERNEL(UpsampleArguments, upsample<unsigned short, unsigned>),
      KERNEL(UpsampleArguments, upsample<unsigned, unsigned>),
      KERNEL(UpsampleArguments, upsample<unsigned long long, unsigned>),
      KERNEL(UpsampleArguments, upsample<Wide<unsigned>, unsigned>),
      KERNEL(FindArguments, find),
      KERNEL(ReduceArguments, reduce<float, float, false>),
      KERNEL(ReduceArguments, reduce<float, float, true>),
      KERNEL(ReduceArguments, reduce<bf16, bf16, false>),
      KERNEL(DequantizeArguments, dequantize<signed char, bf16>),
      KERNEL(DequantizeArguments, dequantize<signed char, float>),
      KERNEL(DequantizeArguments, dequantize<f8e4m3, bf16>),
      KERNEL(DequantizeArguments, dequantize<f8e4m3, float>),
      KERNEL(QuantizeWeightArguments, quantize_weight<float, signed char>),
      KERNEL(QuantizeWeightArguments, quantize_weight<float, f8e4m3>),
      KERNEL(QuantizeWeightArguments, quantize_weight<f16, signed char>),
      KERNEL(QuantizeWeightArguments, quantize_weight<f16, f8e4m3>),
      KERNEL(TableArguments, fill<float>),
      KERNEL(TableArguments, fill<bf16>),
      KERNEL(TableArguments, causal_mask),
      KERNEL(TableArguments, sinusoid),
      KERNEL(TableArguments, rotary_table),
      KERNEL(TableArguments, relative_position_bias<float>),
      KERNEL_OF_EACH(FeedArguments, feed),
      KERNEL_OF_EACH(AddArguments, add_scaled),
      KERNEL_OF_EACH(GuideArguments, guide),
      KERNEL_OF_EACH(GuideArguments, rescale),
      KERNEL(FinishArguments, finish),
      KERNEL(AdvanceArguments, advance),
      KERNEL(ElementwiseArguments, elementwise<0, float, float, float, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<0, bf16, bf16, bf16, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<1, float, float, float, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<2, float, float, float, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<2, bf16, float, bf16, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<3, float, float, float, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<4, float, float, float, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<5, float, float, float, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<6, float, float, float, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<6, float, float, bf16, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<6, bf16, bf16, float, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<6, f16, f16, float, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<6, f16, f16, bf16, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<6, int, int, float, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<7, float, float, float, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<9, float, float, float, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<10, float, float, float, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<11, float, float, float, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<12, float, float, float, unsigned>),
      KERNEL(ElementwiseArguments, elementwise<13, float, float, float, unsigned>),
  };
  return list;
}

}  // namespace host_cuda
