// The convolution kernels on AVX2: float32 factors, and int16 ones for Winograd.
#define VIVACE_SIMD conv_avx2

#include "backends/cpu/kernels/conv_direct.h"
#include "backends/cpu/kernels/conv_pack.h"
#include "backends/cpu/kernels/winograd_int16.h"

namespace vivace::cpu {

using namespace conv_avx2;

const ConvIsaKernels kConvAvx2F32{
    .format = {.panel = kPanel, .chunk = kPanel, .unit = kElementsPerUnit, .max_rows = kMaxRows},
    .pack_panel = pack_panel,
    .direct = kDirectSteps,
    .winograd_f2 = kWinogradSteps<WinogradF2>,
    .winograd_f4 = kWinogradSteps<WinogradF4>,
    .winograd_upsample = kWinogradSteps<WinogradUpsample>,
};

const ConvIsaKernels kConvAvx2Int16 = kInt16Kernels;

}  // namespace vivace::cpu
