// Attention on AMX: bfloat16 products on tiles, everything else as on AVX-512 BF16.
#define VIVACE_AMX
#include "backends/cpu/kernels/attention_rows.h"

namespace vivace::cpu {

const AttentionKernels kAttentionAmxBf16 = {layout<Bf16Op>, pack_panel<Bf16Op>, run_task<Bf16Op>};

}  // namespace vivace::cpu
