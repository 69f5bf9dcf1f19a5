// The convolution kernels on AVX-512 BF16: bfloat16 factors.
#define VIVACE_SIMD conv_avx512_bf16

#include "backends/cpu/kernels/conv_direct.h"
#include "backends/cpu/kernels/conv_pack.h"
#include "backends/cpu/kernels/winograd.h"

namespace vivace::cpu {

using namespace conv_avx512_bf16;

const ConvIsaKernels kConvAvx512Bf16{
    .format = {.panel = kPanel, .unit = kElementsPerUnit, .max_rows = kMaxRows},
    .pack_panel = pack_panel,
    .direct = kDirectSteps,
    .winograd_f2 = kWinogradSteps<WinogradF2>,
    .winograd_f4 = {},  // its transforms would multiply the rounding error of bf16 by about ten
    .winograd_upsample = kWinogradSteps<WinogradUpsample>,
};

}  // namespace vivace::cpu
