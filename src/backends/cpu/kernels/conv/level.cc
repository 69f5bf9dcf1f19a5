// What a level adds to the convolution kernels: bfloat16 factors where it has their products, int16 ones for Winograd where it adds VNNI, else both
// of int16 and float32.
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

extern const ConvIsaKernels kConvInt16;
const ConvIsaKernels kConvInt16 = kInt16Kernels;

#if !defined(__AVXVNNI__) && !defined(__AVX512VNNI__)

extern const ConvIsaKernels kConvF32;
const ConvIsaKernels kConvF32{
    .format = {.panel = kPanel, .chunk = kPanel, .unit = kElementsPerUnit, .max_rows = kMaxRows},
    .pack_panel = pack_panel,
    .direct = kDirectSteps,
    .winograd_f2 = kWinogradSteps<WinogradF2>,
    .winograd_f4 = kWinogradSteps<WinogradF4>,
    .winograd_upsample = kWinogradSteps<WinogradUpsample>,
};

#endif
#endif

}  // namespace vivace::cpu::VIVACE_SIMD
