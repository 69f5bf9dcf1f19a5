// The table of the convolution kernels with bfloat16 factors, on whichever register tile the including file names (conv_tile.h). Internal linkage.
#pragma once

#include "backends/cpu/kernels/conv_direct.h"
#include "backends/cpu/kernels/conv_pack.h"
#include "backends/cpu/kernels/winograd.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

inline constexpr ConvIsaKernels kBf16Kernels{
    .format = {.panel = kPanel, .chunk = kPanel, .unit = kElementsPerUnit, .max_rows = kMaxRows},
    .pack_panel = pack_panel,
    .direct = kDirectSteps,
    .winograd_f2 = kWinogradSteps<WinogradF2>,
    .winograd_f4 = {},  // its transforms would multiply the rounding error of bf16 by about ten
    .winograd_upsample = kWinogradSteps<WinogradUpsample>,
};

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
