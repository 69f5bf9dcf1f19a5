#include "backends/cpu/kernels/attention_rows.h"

namespace vivace::cpu {

const AttentionKernels kAttentionAvx512Bf16 = {layout<Bf16Op>, pack_panel<Bf16Op>, run_task<Bf16Op>};

}  // namespace vivace::cpu
