// A block of query rows of one head by products of integers (integers.h). Only for integers.cc (see kernels.h).
#pragma once

#include "backends/cpu/kernels/attention/integers.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

// sum[MR][NV] += rows of A, `row` units apart and `step` from one unit to the next, times a panel's `units`. As in multiply.h.
template <class Op, int kRow, int kStep, int MR, int NV>
[[gnu::always_inline]] inline void add_products(VI (&sum)[MR][NV], const uint32_t* a, const uint32_t* b, int64_t units) {
  const auto multiply = [&](int unit) __attribute__((always_inline)) {
    VI panel[NV];
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) panel[j] = LoadU(reinterpret_cast<const int32_t*>(b) + (unit * NV + j) * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      VI x = Set(static_cast<int32_t>(a[unit * kStep + r * kRow]));
      if constexpr (NV > 1) asm("" : "+v"(x));  // one broadcast for all products
#pragma GCC unroll 2
      for (int j = 0; j < NV; ++j) sum[r][j] = Op::add(sum[r][j], x, panel[j]);
    }
  };
  constexpr int kTurn = kLanes == 16 ? 1 : 2;
  for (; units >= kTurn; units -= kTurn) {
    multiply(0);
    if constexpr (kTurn == 2) multiply(1);
    a += kTurn * kStep, b += kTurn * NV * kLanes;
    asm volatile("" : "+r"(a), "+r"(b));
  }
  if (units > 0) multiply(0);
}

// scores[MR][keys of the panel], kIntScoreStride apart: times the key's scale, not yet the query's.
template <class Op, int MR>
[[gnu::noinline]] void int_scores(const uint32_t* q, const uint32_t* k, int64_t units, const int32_t* offsets, const float* scales, float* scores) {
  VI sum[MR][2];
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) sum[r][j] = LoadU(offsets + j * kLanes);
  add_products<Op, 1, kQueryStep>(sum, q, k, units);
  const VF scale[2] = {LoadU(scales), LoadU(scales + kLanes)};
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) StoreU(ConvertTo(sum[r][j]) * scale[j], scores + r * kIntScoreStride + j * kLanes);
}

// A row of weights of a block: what they and what was before are multiplied by, so that both are relative to the same reference.
struct Blend {
  float before, block;
};

// out[MR][columns of the group], `stride` apart, = before * out + block * scales * (weights V).
template <int MR, int NV>
[[gnu::noinline]] void int_values(const uint32_t* weights, const uint32_t* v, int64_t pairs, const float* scales, const Blend* blend, float* out,
                                  int64_t stride) {
  VI sum[MR][NV];
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) sum[r][j] = Set(0);
  add_products<WordsOp, kIntWeightStride, 1>(sum, weights, v, pairs);
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) {
      float* to = out + r * stride + j * kLanes;
      StoreU(MulAdd(ConvertTo(sum[r][j]) * LoadU(scales + j * kLanes), Set(blend[r].block), LoadU(to) * Set(blend[r].before)), to);
    }
}

template <class Op, int MR = 1>
void int_scores_rows(int64_t rows, const uint32_t* q, const uint32_t* k, int64_t units, const int32_t* offsets, const float* scales, float* scores) {
  if constexpr (MR < kRows) {
    if (rows != MR) return int_scores_rows<Op, MR + 1>(rows, q, k, units, offsets, scales, scores);
  }
  int_scores<Op, MR>(q, k, units, offsets, scales, scores);
}
template <int NV, int MR = 1>
void int_values_rows(int64_t rows, const uint32_t* weights, const uint32_t* v, int64_t pairs, const float* scales, const Blend* blend, float* out,
                     int64_t stride) {
  if constexpr (MR < kRows) {
    if (rows != MR) return int_values_rows<NV, MR + 1>(rows, weights, v, pairs, scales, blend, out, stride);
  }
  int_values<MR, NV>(weights, v, pairs, scales, blend, out, stride);
}

// A row's weights of a block of keys, 2^(factor * score - largest) in units of 1 / kLargestWeight, of `keys` keys; returns their sum.
template <class Op>
float weigh_block(const float* scores, float factor, float largest, int64_t keys, uint32_t* weights) {
  const VF scale = Set(factor), base = Set(Op::kLog2OfWeight - largest);
  const VI ones = Set(0x10001);
  VI sum = Set(0);
  for (int64_t j = 0; j < keys; j += kPanel, weights += kPanel / 2) {
    VF x = exp2_to_integer(MulAdd(LoadU(scores + j), scale, base)), y = exp2_to_integer(MulAdd(LoadU(scores + j + kLanes), scale, base));
    if (j + kPanel > keys) x = first_lanes(x, keys - j, 0), y = first_lanes(y, keys - j - kLanes, 0);
    const VI pairs = pack_words(NearestInt(x), NearestInt(y));
    sum = add_pairs(sum, pairs, ones);
    std::memcpy(weights, &pairs, sizeof pairs);
  }
  return ReduceSum(ConvertTo(sum)) / Op::kLargestWeight;  // exact: below 2^24
}

inline float largest_score(const float* scores, int64_t keys) {
  VF m[2] = {Set(-__builtin_inff()), Set(-__builtin_inff())};
  int64_t j = 0;
  for (; j + kPanel <= keys; j += kPanel) m[0] = Max(m[0], LoadU(scores + j)), m[1] = Max(m[1], LoadU(scores + j + kLanes));
  for (; j < keys; j += kLanes) m[0] = Max(m[0], first_lanes(LoadU(scores + j), keys - j, -__builtin_inff()));
  return ReduceMax(Max(m[0], m[1]));
}

// A tile of rows: its queries, what each row's scores are multiplied by (factors), the exponent of its largest weight so far (references), its sum
// of weights, and its results so far.
template <class Op>
struct IntRows {
  const AttentionTask& task;
  const AttentionShape& s = *task.shape;
  const AttentionLayout& l = *task.layout;
  const IntPacked packed{l, const_cast<float*>(static_cast<const float*>(task.packed_k)),
                         const_cast<float*>(static_cast<const float*>(task.packed_v))};
  int64_t tiles = (task.rows + kRows - 1) / kRows, tile_rows = task.rows / tiles, longer_tiles = task.rows % tiles;
  float* const scores = static_cast<float*>(task.scratch);
  uint32_t* const weights = reinterpret_cast<uint32_t*>(scores + kRows * kIntScoreStride);
  float* const first_tile = scores + kRows * (kIntScoreStride + kIntWeightStride);

  int64_t first(int64_t tile) const { return tile * tile_rows + (tile < longer_tiles ? tile : longer_tiles); }
  int64_t length(int64_t tile) const { return tile_rows + (tile < longer_tiles); }
  float* factors(int64_t tile) const { return first_tile + tile * int_tile(l); }
  float* references(int64_t tile) const { return factors(tile) + kQueryStep; }
  float* sums(int64_t tile) const { return factors(tile) + 2 * kQueryStep; }
  uint32_t* queries(int64_t tile) const { return reinterpret_cast<uint32_t*>(factors(tile) + 3 * kQueryStep); }
  float* out(int64_t tile) const { return factors(tile) + 3 * kQueryStep + int_query_tile(l); }

  void load_queries(int64_t tile) {
    alignas(64) static const float no_mean[kLargestIntHead] = {};
    alignas(64) typename Op::Element rows[kQueryStep][kLargestIntHead];
    for (auto& row : rows) std::memset(row, 0, static_cast<size_t>(round_up(l.head_units, kLanes)) * 4);
    const int64_t bytes = task.args->q_strides.token * static_cast<int64_t>(element_size(s.dtype));
    const char* row = token_row(task.args->q, task.args->q_strides, task.batch, task.row + first(tile), s, task.head);
    for (int64_t r = 0; r < length(tile); ++r, row += bytes) {
      // Factors are not negative, so that the largest score stays the largest.
      factors(tile)[r] = Op::row(s.dtype, row, no_mean, s.head_dim, l.padded_head, rows[r]) * __builtin_fabsf(s.scale) * kLog2E;
      for (int64_t c = 0; s.scale < 0 && c < l.padded_head; ++c) rows[r][c] = static_cast<typename Op::Element>(-rows[r][c]);
      references(tile)[r] = -__builtin_inff(), sums(tile)[r] = 0;
    }
    for (int g = 0; g < kQueryStep; g += kLanes) interleave_rows(rows + g, l.head_units, queries(tile) + g, kQueryStep);
    for (int64_t i = 0; Op::kFlip != 0 && i < int_query_tile(l); ++i) queries(tile)[i] ^= Op::kFlip;
    std::memset(out(tile), 0, static_cast<size_t>(kRows * l.out_columns) * 4);
  }

  void add_block(int64_t tile, int64_t block) {
    const int64_t rows = length(tile), key0 = block * kIntKeys, keys = s.kv_len - key0 < kIntKeys ? s.kv_len - key0 : kIntKeys;
    for (int64_t j = 0; j < keys; j += kPanel)
      int_scores_rows<Op>(rows, queries(tile), packed.keys((key0 + j) / kPanel), l.head_units, packed.key_offsets() + key0 + j,
                          packed.key_scales() + key0 + j, scores + j);
    Blend blend[kRows];
    for (int64_t r = 0; r < rows; ++r) {
      const float factor = factors(tile)[r], before = references(tile)[r], largest = largest_score(scores + r * kIntScoreStride, keys) * factor;
      const float reference = largest < before ? before : largest;  // NaN where a score is none
      blend[r] = {__builtin_exp2f(before - reference), __builtin_exp2f(largest - reference)};
      references(tile)[r] = reference;
      const float sum = weigh_block<Op>(scores + r * kIntScoreStride, factor, largest, keys, weights + r * kIntWeightStride);
      sums(tile)[r] = sums(tile)[r] * blend[r].before + sum * blend[r].block;
    }
    const int64_t pairs = round_up(keys, kPanel) / 2;
    for (int64_t column = 0; column < l.out_columns; column += kPanel) {
      const auto multiply = l.out_columns - column < kPanel ? int_values_rows<1> : int_values_rows<2>;
      multiply(rows, weights, packed.values(block, column), pairs, packed.value_scales(block) + column, blend, out(tile) + column, l.out_columns);
    }
  }

  void write(int64_t tile) {
    const int64_t element = static_cast<int64_t>(element_size(s.dtype)), bytes = task.args->out_strides.token * element;
    char* to = const_cast<char*>(token_row(task.args->out, task.args->out_strides, task.batch, task.row + first(tile), s, task.head));
    for (int64_t r = 0; r < length(tile); ++r, to += bytes) {
      // The sums of integers have lost what was not a number; the reference kept it.
      const VF inverse = Set(1 / sums(tile)[r] + references(tile)[r] * 0.f);
      for (int64_t c = 0; c < s.head_dim; c += kLanes) {
        const VF x = MulAdd(LoadU(out(tile) + r * l.out_columns + c), inverse, LoadU(packed.v_mean() + c));
        if (c + kLanes <= s.head_dim) {
          store_from_float(s.dtype, to + c * element, x);
          continue;
        }
        alignas(64) char rest[4 * kLanes];
        store_from_float(s.dtype, rest, x);
        std::memcpy(to + c * element, rest, static_cast<size_t>((s.head_dim - c) * element));
      }
    }
  }
};

template <class Op>
void int_run(AttentionKind, const AttentionTask& task) {
  IntRows<Op> rows{task};
  for (int64_t tile = 0; tile < rows.tiles; ++tile) rows.load_queries(tile);
  for (int64_t block = 0; block < rows.l.panels; ++block)
    for (int64_t tile = 0; tile < rows.tiles; ++tile) rows.add_block(tile, block);
  for (int64_t tile = 0; tile < rows.tiles; ++tile) rows.write(tile);
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
