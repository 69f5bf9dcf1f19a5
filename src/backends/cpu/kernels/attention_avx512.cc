#include "backends/cpu/kernels/attention_rows.h"

namespace vivace::cpu {

const AttentionKernels kAttentionAvx512 = {layout<F32Op>, pack_panel<F32Op>, run_task<F32Op>};

}  // namespace vivace::cpu
