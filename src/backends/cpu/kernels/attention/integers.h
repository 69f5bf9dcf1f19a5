// Attention with products of integers: its two arithmetics, and how queries, keys and values become integers. Only for integers.cc (see kernels.h).
//
//   K   the mean of a head's keys is taken out, which moves all scores of a query by the same and so changes nothing; what is left has a scale for
//       each key.
//   Q   a scale for each query.
//   P   the weights of a block of keys, relative to the block's largest: 0 to Op::kLargestWeight.
//   V   the mean of a head's values is taken out and added to the result; what is left has a scale for each column of a block of keys, as fine as
//       sums of int32 allow (int16_row.h): a sum of products with weights is at most the product of the two norms.
#pragma once

#ifdef __AVX512F__
#include "backends/cpu/kernels/microkernel_avx512.h"
#else
#include "backends/cpu/kernels/microkernel_avx2.h"
#endif
#include "backends/cpu/kernels/attention/tile.h"
#include "backends/cpu/kernels/int16_row.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

constexpr int64_t kLargestIntHead = 512;
constexpr int64_t kIntScoreStride = kIntKeys + 16, kIntWeightStride = kIntKeys / 2 + 16;  // floats and pairs

// The largest magnitude and what becomes of it: NaN where a number is none.
inline float largest_of(VF v) { return AllFalse(IsNaN(v)) ? ReduceMax(v) : __builtin_nanf(""); }
// Not the larger one where one is no number, but that.
inline VF grow(VF largest, VF x) { return IfThenElse(IsNaN(x), x, Max(Abs(x), largest)); }
inline RowSize row_size(float largest, float squares) {
  RowSize size;
  std::memcpy(&size.largest, &largest, sizeof largest);
  size.squares = squares;
  return size;
}

#if defined(__AVX512VNNI__)
// Q K^T of bytes, four to a unit: keys from -127 to 127, queries around 128, because the instruction multiplies unsigned ones by signed ones; what
// the 128 adds is taken out again by an offset of each key.
struct BytesOp {
  using Element = int8_t;
  static constexpr int kElements = 4;
  static constexpr int32_t kOffset = 128;
  static constexpr uint32_t kFlip = 0x80808080;  // of a unit of queries
  static constexpr float kLargestWeight = kLargestWeightOfBytes, kLog2OfWeight = 14.99995597f;

  // Written out: with the intrinsics GCC 12 keeps a copy of every sum in memory.
  [[gnu::always_inline]] static VI add(VI sum, VI a, VI b) {
    asm("vpdpbusd %[b], %[a], %[sum]" : [sum] "+v"(sum) : [a] "v"(a), [b] "v"(b));
    return sum;
  }
  // A row less its mean, zeros behind it; returns its scale.
  static float row(DType dtype, const void* from, const float* mean, int64_t size, int64_t padded, Element* to) {
    VF largest = Zero();
    for (int64_t c = 0; c < padded; c += kLanes) largest = grow(largest, load_padded(dtype, from, c, size) - LoadU(mean + c));
    const float most = largest_of(largest), scale = most <= 0x1.fffffep127f ? most / 127 : __builtin_nanf("");
    const float inverse = 1 / scale <= 0x1.fffffep127f ? 1 / scale : 0;  // not of zeros, of what is too small to tell from them, of NaN
    for (int64_t c = 0; c < padded; c += kLanes)
      store_bytes(NearestInt((load_padded(dtype, from, c, size) - LoadU(mean + c)) * Set(inverse)), 0, to + c);
    return scale;
  }
};
#endif

// Q K^T of 16 bits, two to a unit, as fine as the two rows' norms allow.
struct WordsOp {
  using Element = int16_t;
  static constexpr int kElements = 2;
  static constexpr int32_t kOffset = 0;
  static constexpr uint32_t kFlip = 0;
  // With normal numbers the rounding of weights and of values costs about the same: finer ones leave less for the others in a sum.
  static constexpr float kLargestWeight = kLargestWeightOfWords, kLog2OfWeight = 12.99982387f;

  [[gnu::always_inline]] static VI add(VI sum, VI a, VI b) { return add_pairs(sum, a, b); }
  static float row(DType dtype, const void* from, const float* mean, int64_t size, int64_t padded, Element* to) {
    VF largest = Zero(), squares = Zero();
    for (int64_t c = 0; c < padded; c += kLanes) {
      const VF x = load_padded(dtype, from, c, size) - LoadU(mean + c);
      largest = grow(largest, x), squares = MulAdd(x, x, squares);
    }
    const Int16Row row(row_size(largest_of(largest), ReduceSum(squares)), size);
    const VF inverse = Set(row.inverse);
    for (int64_t c = 0; c < padded; c += 16)
      store_int16([&](int at) { return (load_padded(dtype, from, c + at, size) - LoadU(mean + c + at)) * inverse; }, to + c);
    return row.scale;
  }
};

// What lies in a head's packed keys and values, in units of 4 bytes.
struct IntPacked {
  const AttentionLayout& l;
  float *k, *v;

  float* k_mean() const { return k; }
  float* v_mean() const { return k + l.padded_head; }
  float* key_scales() const { return v_mean() + l.out_columns; }
  // What is taken out of each key's sums: -Op::kOffset times the sum of its elements.
  int32_t* key_offsets() const { return reinterpret_cast<int32_t*>(key_scales() + l.kv_padded); }
  uint32_t* keys(int64_t panel) const { return reinterpret_cast<uint32_t*>(key_offsets() + l.kv_padded) + panel * kPanel * l.head_units; }
  static int64_t k_size(const AttentionLayout& l) { return l.padded_head + l.out_columns + l.kv_padded * (2 + l.head_units); }
  // Of a block: the columns' scales, for weights of at most 1, then pairs [column group][pair][width].
  float* value_scales(int64_t block) const { return v + block * l.out_columns * (1 + kIntKeys / 2); }
  uint32_t* values(int64_t block, int64_t column) const {
    return reinterpret_cast<uint32_t*>(value_scales(block) + l.out_columns) + column * kIntKeys / 2;
  }
  static int64_t v_size(const AttentionLayout& l) { return l.panels * l.out_columns * (1 + kIntKeys / 2); }
};

inline int64_t int_query_tile(const AttentionLayout& l) { return l.head_units * kQueryStep; }
// Queries; their factors, references and sums; the results.
inline int64_t int_tile(const AttentionLayout& l) { return int_query_tile(l) + 3 * kQueryStep + kRows * l.out_columns; }

template <class Op>
AttentionLayout int_layout(const AttentionShape& s, AttentionKind, int threads) {
  AttentionLayout l{};
  l.head_units = (s.head_dim + Op::kElements - 1) / Op::kElements;
  l.padded_head = round_up(l.head_units * Op::kElements, 16);
  l.kv_padded = round_up(s.kv_len, kPanel);
  l.panels = (s.kv_len + kIntKeys - 1) / kIntKeys;
  l.out_columns = round_up(s.head_dim, kLanes);
  l.packed_k_head = static_cast<size_t>(round_up(IntPacked::k_size(l), 16));
  l.packed_v_head = static_cast<size_t>(round_up(IntPacked::v_size(l), 16));
  l.block_keys = kIntKeys;
  l.block_rows = 6 * kRows;
  while (l.block_rows > kRows && s.batch * s.heads * ((s.q_len + l.block_rows - 1) / l.block_rows) < 4 * threads) l.block_rows -= kRows;
  const int64_t tiles = (l.block_rows + kRows - 1) / kRows;
  l.scratch_bytes = static_cast<size_t>(round_up((tiles * int_tile(l) + kRows * (kIntScoreStride + kIntWeightStride)) * 4, 128));
  return l;
}

// Before the panels: the means of a head's keys and values.
void int_prepare_head(const AttentionShape& s, const AttentionArgs& args, const AttentionLayout& l, int64_t batch, int64_t head, void* packed_k) {
  const IntPacked packed{l, static_cast<float*>(packed_k), nullptr};
  const auto mean = [&](const void* base, const TokenStrides& strides, float* to, int64_t columns) {
    const char* row = token_row(base, strides, batch, 0, s, head);
    const int64_t bytes = strides.token * static_cast<int64_t>(element_size(s.dtype));
    const VF share = Set(1.f / static_cast<float>(s.kv_len));
    for (int64_t c = 0; c < columns; c += kLanes) {
      VF sum = Zero();
      for (int64_t t = 0; t < s.kv_len; ++t) sum = sum + load_padded(s.dtype, row + t * bytes, c, s.head_dim);
      StoreU(sum * share, to + c);
    }
  };
  mean(args.k, args.k_strides, packed.k_mean(), l.padded_head);
  mean(args.v, args.v_strides, packed.v_mean(), l.out_columns);
}

// kLanes rows as columns of units.
template <class Element>
void interleave_rows(const Element (*rows)[kLargestIntHead], int64_t units, uint32_t* to, int64_t stride) {
  for (int64_t u = 0; u < units; u += kLanes) {
    alignas(64) uint32_t columns[kLanes * kLanes];
    transpose(reinterpret_cast<const char*>(rows[0]) + u * 4, sizeof rows[0], kLanes, columns, kLanes);
    for (int64_t i = 0; i < kLanes && u + i < units; ++i) std::memcpy(to + (u + i) * stride, columns + i * kLanes, kLanes * 4);
  }
}

// The first key of a pair of weights: as they come out of weigh_block(), whose packing takes 128 bits of either half of a panel in turn.
constexpr int first_of_pair(int pair) { return pair % 4 / 2 * kLanes + pair / 4 * 4 + pair % 2 * 2; }

template <class Op>
void int_pack_keys(const AttentionShape& s, const AttentionArgs& args, const AttentionLayout& l, int64_t batch, int64_t head, int64_t key0,
                   int64_t keys, const IntPacked& packed) {
  const char* row = token_row(args.k, args.k_strides, batch, key0, s, head);
  const int64_t bytes = args.k_strides.token * static_cast<int64_t>(element_size(s.dtype));
  alignas(64) typename Op::Element rows[kLanes][kLargestIntHead];
  for (int64_t j = 0; j < round_up(keys, kPanel); j += kLanes) {
    for (int64_t i = 0; i < kLanes; ++i) {
      float scale = 0;
      int32_t sum = 0;
      if (j + i < keys) {
        scale = Op::row(s.dtype, row + (j + i) * bytes, packed.k_mean(), s.head_dim, l.padded_head, rows[i]);
        for (int64_t c = 0; Op::kOffset != 0 && c < l.padded_head; ++c) sum += rows[i][c];
      } else {
        std::memset(rows[i], 0, sizeof rows[i]);
      }
      packed.key_scales()[key0 + j + i] = scale, packed.key_offsets()[key0 + j + i] = -Op::kOffset * sum;
    }
    interleave_rows(rows, l.head_units, packed.keys((key0 + j) / kPanel) + j % kPanel, kPanel);
  }
}

template <class Op>
void int_pack_values(const AttentionShape& s, const AttentionArgs& args, const AttentionLayout& l, int64_t batch, int64_t head, int64_t key0,
                     int64_t keys, const IntPacked& packed) {
  const char* row = token_row(args.v, args.v_strides, batch, key0, s, head);
  const int64_t bytes = args.v_strides.token * static_cast<int64_t>(element_size(s.dtype)), block = key0 / kIntKeys;
  // The weights' norm is at most this.
  const float weights = (Op::kLargestWeight + 1) * __builtin_sqrtf(static_cast<float>(keys));
  for (int64_t c = 0; c < l.out_columns; c += kLanes) {
    const VF mean = LoadU(packed.v_mean() + c);
    const auto value = [&](int64_t j) { return j < keys ? load_padded(s.dtype, row + j * bytes, c, s.head_dim) - mean : Zero(); };
    VF largest = Zero(), squares = Zero();
    for (int64_t j = 0; j < keys; ++j) {
      const VF x = value(j);
      largest = grow(largest, x), squares = MulAdd(x, x, squares);
    }
    alignas(64) float most[kLanes], sums[kLanes], scales[kLanes], inverses[kLanes];
    StoreU(largest, most), StoreU(squares, sums);
    for (int i = 0; i < kLanes; ++i) {
      const Int16Row column(row_size(most[i], sums[i]), keys, 0x1p31f / weights);
      scales[i] = column.scale, inverses[i] = column.inverse;
    }
    StoreU(LoadU(scales) * Set(1 / Op::kLargestWeight), packed.value_scales(block) + c);
    const VF inverse = LoadU(inverses);
    const int64_t group = c & ~int64_t{kPanel - 1}, width = l.out_columns - group < kPanel ? kLanes : kPanel;
    uint32_t* to = packed.values(block, group) + (c - group);
    for (int64_t j = 0; j < round_up(keys, kPanel); j += kPanel)
      for (int pair = 0; pair < kPanel / 2; ++pair, to += width) {
        const auto rounded = [&](int64_t key) { return NearestInt(value(key) * inverse); };
        const int64_t first = j + first_of_pair(pair);
        const VI both = pair_int16(rounded(first), rounded(first + 1));
        std::memcpy(to, &both, sizeof both);
      }
  }
}

// `block`: kIntKeys keys.
template <class Op>
void int_pack_panel(const AttentionShape& s, const AttentionArgs& args, const AttentionLayout& l, int64_t batch, int64_t head, int64_t block,
                    void* packed_k, void* packed_v) {
  const IntPacked packed{l, static_cast<float*>(packed_k), static_cast<float*>(packed_v)};
  const int64_t key0 = block * kIntKeys, keys = s.kv_len - key0 < kIntKeys ? s.kv_len - key0 : kIntKeys;
  int_pack_keys<Op>(s, args, l, batch, head, key0, keys, packed);
  int_pack_values<Op>(s, args, l, batch, head, key0, keys, packed);
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
