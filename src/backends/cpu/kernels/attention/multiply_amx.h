// The products of attention on AMX tiles, in place of multiply.h. A tile of Q is [kRows][head_units].
#pragma once

#include "backends/cpu/kernels/attention/tile.h"
#include "backends/cpu/kernels/microkernel_amx.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

static_assert(kRows == kAmxRows && kPanel == kAmxColumns);

using ProductScope = AmxScope<AmxTiles>;

template <class Op>
void load_query_tile(const AttentionShape& s, const char* from, int64_t row_bytes, int64_t rows, int64_t head_units, typename Op::Unit* to) {
  const int64_t elements = head_units * Op::kPair;
  for (int64_t r = 0; r < rows; ++r) copy_padded(from + r * row_bytes, element_size(s.dtype), 0, elements, s.head_dim, to + r * head_units);
}

inline void multiply_tile(int64_t rows, const void* a, int64_t a_units, int64_t units, const void* b, float* c, int64_t c_stride, bool add_to) {
  constexpr ptrdiff_t kNoOffset = 0;
  amx_tile<AmxTiles, AmxDot::bf16>(a, a_units * 4, &kNoOffset, 1, units, b, c, c_stride, static_cast<int>(rows), add_to);
}

template <class Op>
void multiply_key_panel(int64_t rows, const typename Op::Unit* q, const typename Op::Unit* k, int64_t head_units, int64_t, float* to,
                        int64_t stride) {
  multiply_tile(rows, q, head_units, head_units, k, to, stride, false);
}

// Keys up to the end of their panel have weights of 0, so that no product has a rest.
template <class Op>
void multiply_value_group(int64_t rows, const typename Op::Unit* weights, const typename Op::Unit* v, int64_t keys, int64_t, float* out,
                          int64_t out_stride, bool add_to) {
  multiply_tile(rows, weights, Op::kWeightStride, (keys + kPanel - 1) / kPanel * (kPanel / Op::kPair), v, out, out_stride, add_to);
}

// Two panels of scores wait on the stack, so that the exponentials of one can be taken while the tiles multiply the next.
template <class Op, bool Precise>
void score_weights_rows(int64_t rows, const typename Op::Unit* q, const typename Op::Unit* k, int64_t head_units, int64_t panels, float scale,
                        const float* reference, float* sums, typename Op::Unit* weights) {
  alignas(64) float scores[2][kRows * kPanel];
  for (int64_t p = 0; p <= panels; ++p) {
    if (p < panels) multiply_tile(rows, q, head_units, head_units, k + p * head_units * kPanel, scores[p % 2], kPanel, false);
    if (p == 0) continue;
    const float* from = scores[(p - 1) % 2];
    typename Op::Unit* to = weights + (p - 1) * kPanel / Op::kPair;
    for (int64_t r = 0; r < rows; ++r) weigh_row<Op, Precise>(from + r * kPanel, scale, reference[r], sums + r * kLanes, to + r * Op::kWeightStride);
  }
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
