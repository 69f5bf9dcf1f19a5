// The convolution kernels on AMX: bfloat16 factors, everything but the register tile as on AVX-512 BF16.
#define VIVACE_SIMD conv_amx
#define VIVACE_AMX

#include "backends/cpu/kernels/conv_direct.h"
#include "backends/cpu/kernels/conv_pack.h"
#include "backends/cpu/kernels/winograd.h"

namespace vivace::cpu {

using namespace conv_amx;

const ConvIsaKernels kConvAmxBf16{
    .format = {.panel = kPanel, .unit = kElementsPerUnit, .max_rows = kMaxRows},
    .pack_panel = pack_panel,
    .direct = kDirectSteps,
    .winograd_f2 = kWinogradSteps<WinogradF2>,
    .winograd_f4 = {},  // its transforms would multiply the rounding error of bf16 by about ten
    .winograd_upsample = kWinogradSteps<WinogradUpsample>,
};

}  // namespace vivace::cpu
