// The convolution kernels on AMX: bfloat16 factors, everything but the register tile as on AVX-512 BF16.
#define VIVACE_SIMD conv_amx
#define VIVACE_AMX

#include "backends/cpu/kernels/conv_bf16.h"

namespace vivace::cpu {

const ConvIsaKernels kConvAmxBf16 = conv_amx::kBf16Kernels;

}  // namespace vivace::cpu
