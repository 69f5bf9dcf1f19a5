// The convolution kernels on AVX-512 BF16: bfloat16 factors.
#define VIVACE_SIMD conv_avx512_bf16

#include "backends/cpu/kernels/conv_bf16.h"

namespace vivace::cpu {

const ConvIsaKernels kConvAvx512Bf16 = conv_avx512_bf16::kBf16Kernels;

}  // namespace vivace::cpu
