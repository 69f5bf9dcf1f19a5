// The products of attention in vector registers: a few query rows times one panel of two vectors. Only for level.cc
// (see kernels.h).
// A tile of Q is [head_units][kQueryStep], so that one pointer reaches every row.
#pragma once

#include "backends/cpu/kernels/attention/tile.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

// What products need around them.
struct ProductScope {
  ProductScope() {}
};

// Lays out a tile of Q from `rows` rows in memory, row_bytes apart.
template <class Op>
void load_query_tile(const AttentionShape& s, const char* from, int64_t row_bytes, int64_t rows, int64_t head_units, typename Op::Unit* to) {
  for (int64_t unit = 0; unit < head_units; unit += kLanes) {
    for (int g = 0; g < kQueryStep; g += kLanes) {
      if (unit + kLanes <= head_units) {
        transpose_units<Op>(s, from + g * row_bytes, row_bytes, rows - g, unit, to + unit * kQueryStep + g, kQueryStep);
        continue;
      }
      alignas(64) typename Op::Unit columns[kLanes * kLanes];
      transpose_units<Op>(s, from + g * row_bytes, row_bytes, rows - g, unit, columns, kLanes);
      for (int64_t u = unit; u < head_units; ++u) {
        std::memcpy(to + u * kQueryStep + g, columns + (u - unit) * kLanes, kLanes * sizeof(typename Op::Unit));
      }
    }
  }
}

// Where a tile's rows lie: Q tiles are stored unit by unit, weights row by row.
struct QueryRows {
  static constexpr int64_t kRow = 1, kStep = kQueryStep;
};
template <class Op>
struct WeightRows {
  static constexpr int64_t kRow = Op::kWeightStride, kStep = 1;
};

// acc += rows of A times NV vectors of a panel whose rows are Step units apart. The empty asm keeps the two pointers as they are: the compiler would
// otherwise make one of each row. On AVX2 two units a turn and no prefetching, as in microkernel_avx2.h.
template <class Op, class A, int Step, int MR, int NV>
[[gnu::always_inline]] inline void accumulate(VF (&acc)[MR][NV], const typename Op::Unit* a, const typename Op::Unit* b, int64_t k) {
  auto multiply = [&](int unit) __attribute__((always_inline)) {
    typename Op::UnitVec panel[NV];
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) {
      panel[j] = Op::load(b + unit * Step + j * kLanes);
      if (kLanes == 16) _mm_prefetch(reinterpret_cast<const char*>(b + j * kLanes + 8 * Step), _MM_HINT_T0);
    }
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      const typename Op::UnitVec row = Op::broadcast(a + unit * A::kStep + r * A::kRow);
#pragma GCC unroll 2
      for (int j = 0; j < NV; ++j) acc[r][j] = Op::dot(acc[r][j], row, panel[j]);
    }
  };
  constexpr int kTurn = kLanes == 16 ? 1 : 2;
  for (; k >= kTurn; k -= kTurn) {
    multiply(0);
    if (kTurn == 2) multiply(1);
    a += kTurn * A::kStep;
    b += kTurn * Step;
    asm volatile("" : "+r"(a), "+r"(b));
  }
  if (k > 0) multiply(0);
}

// C (MR rows of NV vectors) = A B, or C += A B.
template <class Op, class A, int Step, int NV, int MR>
[[gnu::noinline]] void multiply(const typename Op::Unit* a, const typename Op::Unit* b, int64_t k, float* c, int64_t ldc, bool add_to) {
  VF acc[MR][NV];
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) acc[r][j] = add_to ? LoadU(c + r * ldc + j * kLanes) : Zero();
  }
  accumulate<Op, A, Step, MR, NV>(acc, a, b, k);
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) StoreU(acc[r][j], c + r * ldc + j * kLanes);
  }
}

// Flash's inner step: scores over `panels` whole panels and their weights. With 32 registers the exponentials of a panel are taken between the
// products of the next, a row every other unit, so that they run on the units that the products leave idle; with 16 they would push the sums out of
// them. The scores wait in 2 kB on the stack.
template <class Op, bool Precise, int MR>
[[gnu::noinline]] void score_weights(const typename Op::Unit* q, const typename Op::Unit* k, int64_t head_units, int64_t panels, float scale,
                                     const float* reference, float* sums, typename Op::Unit* weights) {
  alignas(64) float scores[MR * kPanel];
  if constexpr (kLanes < 16) {
    for (int64_t p = 0; p < panels; ++p, k += head_units * kPanel, weights += kPanel / Op::kPair) {
      multiply<Op, QueryRows, kPanel, 2, MR>(q, k, head_units, scores, kPanel, false);
      for (int r = 0; r < MR; ++r)
        weigh_row<Op, Precise>(scores + r * kPanel, scale, reference[r], sums + r * kLanes, weights + r * Op::kWeightStride);
    }
  } else {
    for (int64_t p = 0; p <= panels; ++p) {
      VF acc[MR][2];
#pragma GCC unroll 16
      for (int r = 0; r < MR; ++r) acc[r][0] = acc[r][1] = Zero();
      const typename Op::Unit *a = q, *b = k + p * head_units * kPanel;
      int64_t left = p < panels ? head_units : 0;
      if (p > 0) {
        typename Op::Unit* to = weights + (p - 1) * kPanel / Op::kPair;
        for (int r = 0; r < MR; ++r) {
          weigh_row<Op, Precise>(scores + r * kPanel, scale, reference[r], sums + r * kLanes, to + r * Op::kWeightStride);
          if (left < 2) continue;
          accumulate<Op, QueryRows, kPanel, MR, 2>(acc, a, b, 2);
          a += 2 * QueryRows::kStep;
          b += 2 * kPanel;
          left -= 2;
        }
        if (p == panels) return;
      }
      accumulate<Op, QueryRows, kPanel, MR, 2>(acc, a, b, left);
#pragma GCC unroll 16
      for (int r = 0; r < MR; ++r) {
        StoreU(acc[r][0], scores + r * kPanel);
        StoreU(acc[r][1], scores + r * kPanel + kLanes);
      }
    }
  }
}

// The same code for 1 ... kRows rows.
template <class Op, class A, int Step, int NV, int MR = 1>
void multiply_rows(int64_t rows, const typename Op::Unit* a, const typename Op::Unit* b, int64_t k, float* c, int64_t ldc, bool add_to) {
  if constexpr (MR < kRows) {
    if (rows != MR) return multiply_rows<Op, A, Step, NV, MR + 1>(rows, a, b, k, c, ldc, add_to);
  }
  multiply<Op, A, Step, NV, MR>(a, b, k, c, ldc, add_to);
}

// to[rows][kPanel], `stride` apart, = Q times a panel of keys. Half of it is left out (and undefined) where `keys` has none in it.
template <class Op>
void multiply_key_panel(int64_t rows, const typename Op::Unit* q, const typename Op::Unit* k, int64_t head_units, int64_t keys, float* to,
                        int64_t stride) {
  if (keys > kLanes) {
    multiply_rows<Op, QueryRows, kPanel, 2>(rows, q, k, head_units, to, stride, false);
  } else {
    multiply_rows<Op, QueryRows, kPanel, 1>(rows, q, k, head_units, to, stride, false);
  }
}

// out[rows][width], out_stride apart, (+)= weights times V's group of columns for `keys` keys.
template <class Op>
void multiply_value_group(int64_t rows, const typename Op::Unit* weights, const typename Op::Unit* v, int64_t keys, int64_t width, float* out,
                          int64_t out_stride, bool add_to) {
  const int64_t units = (keys + Op::kPair - 1) / Op::kPair;
  if (width >= kPanel) {
    multiply_rows<Op, WeightRows<Op>, kPanel, 2>(rows, weights, v, units, out, out_stride, add_to);
  } else {
    multiply_rows<Op, WeightRows<Op>, kLanes, 1>(rows, weights, v, units, out, out_stride, add_to);
  }
}

template <class Op, bool Precise, int MR = 1>
void score_weights_rows(int64_t rows, const typename Op::Unit* q, const typename Op::Unit* k, int64_t head_units, int64_t panels, float scale,
                        const float* reference, float* sums, typename Op::Unit* weights) {
  if constexpr (MR < kRows) {
    if (rows != MR) return score_weights_rows<Op, Precise, MR + 1>(rows, q, k, head_units, panels, scale, reference, sums, weights);
  }
  score_weights<Op, Precise, MR>(q, k, head_units, panels, scale, reference, sums, weights);
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
