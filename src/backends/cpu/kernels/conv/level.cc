// The convolution kernels at one level: bfloat16 factors where the level has their products, else float32 ones, and int16 ones for Winograd.
#include "backends/cpu/kernels/conv/direct.h"
#include "backends/cpu/kernels/conv/pack.h"
#ifdef __AVX512BF16__
#include "backends/cpu/kernels/conv/winograd.h"
#else
#include "backends/cpu/kernels/conv/winograd_int16.h"
#endif

namespace vivace::cpu::VIVACE_SIMD {

#ifdef __AVX512BF16__

extern const ConvIsaKernels kConvBf16;
const ConvIsaKernels kConvBf16{
    .format = {.panel = kPanel, .chunk = kPanel, .unit = kElementsPerUnit, .max_rows = kMaxRows},
    .pack_panel = pack_panel,
    .direct = kDirectSteps,
    .winograd_f2 = kWinogradSteps<WinogradF2>,
    .winograd_f4 = {},  // its transforms would multiply the rounding error of bf16 by about ten
    .winograd_upsample = kWinogradSteps<WinogradUpsample>,
};

#else

extern const ConvIsaKernels kConvF32, kConvInt16;
const ConvIsaKernels kConvF32{
    .format = {.panel = kPanel, .chunk = kPanel, .unit = kElementsPerUnit, .max_rows = kMaxRows},
    .pack_panel = pack_panel,
    .direct = kDirectSteps,
    .winograd_f2 = kWinogradSteps<WinogradF2>,
    .winograd_f4 = kWinogradSteps<WinogradF4>,
    .winograd_upsample = kWinogradSteps<WinogradUpsample>,
};
const ConvIsaKernels kConvInt16 = kInt16Kernels;

#endif

}  // namespace vivace::cpu::VIVACE_SIMD
