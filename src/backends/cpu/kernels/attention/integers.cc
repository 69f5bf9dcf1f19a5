// Attention with products of integers at one level: of 16 bits, and of bytes where one instruction multiplies and adds them.
#include "backends/cpu/kernels/attention/integer_rows.h"

namespace vivace::cpu::VIVACE_SIMD {

template <class Op>
constexpr AttentionKernels kIntegers = {int_layout<Op>, int_pack_panel<Op>, int_run<Op>, int_prepare_head};

extern const AttentionKernels kAttentionInt16;
const AttentionKernels kAttentionInt16 = kIntegers<WordsOp>;
#ifdef __AVX512VNNI__
extern const AttentionKernels kAttentionInt8;
const AttentionKernels kAttentionInt8 = kIntegers<BytesOp>;
#endif

}  // namespace vivace::cpu::VIVACE_SIMD
