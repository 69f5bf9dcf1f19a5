// Attention at one level: with bfloat16 products where the level has them, else with float32's.
#include "backends/cpu/kernels/attention/rows.h"

namespace vivace::cpu::VIVACE_SIMD {

extern const AttentionKernels kAttention;
#ifdef __AVX512BF16__
const AttentionKernels kAttention = {layout<Bf16Op>, pack_panel<Bf16Op>, run_task<Bf16Op>};
#else
const AttentionKernels kAttention = {layout<F32Op>, pack_panel<F32Op>, run_task<F32Op>};
#endif

}  // namespace vivace::cpu::VIVACE_SIMD
