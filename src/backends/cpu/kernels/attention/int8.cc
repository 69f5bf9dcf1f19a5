// Attention with products of integers at one level.
#include "backends/cpu/kernels/attention/int8.h"

namespace vivace::cpu::VIVACE_SIMD {

extern const AttentionKernels kAttentionInt8;
const AttentionKernels kAttentionInt8 = {int_layout, int_pack_panel, int_run, int_prepare_head};

}  // namespace vivace::cpu::VIVACE_SIMD
