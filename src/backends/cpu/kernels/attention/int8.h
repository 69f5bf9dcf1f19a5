// Attention with products of integers: Q K^T of bytes, P V of 16 bits, both one instruction of VNNI. Only for int8.cc (see kernels.h).
//
//   K   the mean of a head's keys is taken out, which moves all scores of a query by the same and so changes nothing; what is left has a scale for
//   each
//       key. Bytes from -127 to 127.
//   Q   a scale for each query. Bytes around 128, because the instruction multiplies unsigned ones by signed ones; what the 128 adds is taken out
//   again. P   the weights of a block of keys, relative to the largest so far: 0 to 32767. V   the mean of a head's values is taken out and added to
//   the result; what is left has a scale for each column of a block of keys: -255 to 255.
//       A block of 256 keys keeps its sums within int32: 256 x 32767 x 255 < 2^31.
#pragma once

#include "backends/cpu/kernels/attention/tile.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

constexpr int64_t kIntKeys = 256;  // a block's
constexpr float kLargestKey = 127, kLargestWeight = 32767, kLargestValue = 255;
static_assert(kIntKeys * 32767 * 255 < int64_t{1} << 31);
constexpr int64_t kIntScoreStride = kIntKeys + 16, kIntWeightStride = kIntKeys / 2 + 16;  // floats and pairs

inline int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// What lies in a head's packed keys and values, in units of 4 bytes.
struct IntPacked {
  const AttentionLayout& l;
  float *k, *v;

  int64_t mean_size() const { return up(l.head_units * 4, kLanes); }
  float* k_mean() const { return k; }
  float* v_mean() const { return k + mean_size(); }
  float* key_scales() const { return v_mean() + l.out_columns; }
  // -128 times the sum of a key's bytes.
  int32_t* key_offsets() const { return reinterpret_cast<int32_t*>(key_scales() + l.kv_padded); }
  uint32_t* keys(int64_t panel) const { return reinterpret_cast<uint32_t*>(key_offsets() + l.kv_padded) + panel * kPanel * l.head_units; }
  static int64_t k_size(const AttentionLayout& l) { return up(l.head_units * 4, kLanes) + l.out_columns + l.kv_padded * (2 + l.head_units); }
  // Of a block: the columns' scales, for weights of at most 1, then pairs [column group][pair][width].
  float* value_scales(int64_t block) const { return v + block * l.out_columns * (1 + kIntKeys / 2); }
  uint32_t* values(int64_t block, int64_t column) const {
    return reinterpret_cast<uint32_t*>(value_scales(block) + l.out_columns) + column * kIntKeys / 2;
  }
  static int64_t v_size(const AttentionLayout& l) { return l.panels * l.out_columns * (1 + kIntKeys / 2); }
};

inline int64_t int_query_tile(const AttentionLayout& l) { return l.head_units * kQueryStep; }

AttentionLayout int_layout(const AttentionShape& s, AttentionKind, int threads) {
  AttentionLayout l{};
  l.head_units = (s.head_dim + 3) / 4;
  l.kv_padded = up(s.kv_len, kPanel);
  l.panels = (s.kv_len + kIntKeys - 1) / kIntKeys;
  l.out_columns = up(s.head_dim, kLanes);
  l.packed_k_head = static_cast<size_t>(up(IntPacked::k_size(l), 16));
  l.packed_v_head = static_cast<size_t>(up(IntPacked::v_size(l), 16));
  l.block_keys = kIntKeys;
  l.block_rows = 6 * kRows;
  while (l.block_rows > kRows && s.batch * s.heads * ((s.q_len + l.block_rows - 1) / l.block_rows) < 4 * threads) l.block_rows -= kRows;
  const int64_t tiles = (l.block_rows + kRows - 1) / kRows;
  const int64_t a_tile = int_query_tile(l) + 3 * kLanes + kRows * l.out_columns;  // queries; their factors, references and sums; the results
  l.scratch_bytes = static_cast<size_t>(up((tiles * a_tile + kRows * (kIntScoreStride + kIntWeightStride)) * 4, 128));
  return l;
}

// The largest magnitude and what becomes of it: NaN where a number is none.
inline float int_scale(float largest, float most) { return largest <= 0x1.fffffep127f ? largest / most : __builtin_nanf(""); }
inline float inverse_of(float scale) {
  const float inverse = 1 / scale;
  return inverse <= 0x1.fffffep127f ? inverse : 0;  // of zeros, of what is too small to tell from them, of NaN
}
// Not the larger one where one is no number, but that.
inline VF grow(VF largest, VF x) { return IfThenElse(IsNaN(x), x, Max(Abs(x), largest)); }
inline float largest_of(VF v) { return AllFalse(IsNaN(v)) ? ReduceMax(v) : __builtin_nanf(""); }

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
  mean(args.k, args.k_strides, packed.k_mean(), packed.mean_size());
  mean(args.v, args.v_strides, packed.v_mean(), l.out_columns);
}

// A row less its mean in bytes, zeros behind it; returns its scale.
inline float int8_row(DType dtype, const void* row, const float* mean, int64_t size, int64_t padded, int8_t* to) {
  VF largest = Zero();
  for (int64_t c = 0; c < padded; c += kLanes) largest = grow(largest, load_padded(dtype, row, c, size) - LoadU(mean + c));
  const float scale = int_scale(largest_of(largest), kLargestKey);
  const VF inverse = Set(inverse_of(scale));
  for (int64_t c = 0; c < padded; c += kLanes) {
    const VF x = (load_padded(dtype, row, c, size) - LoadU(mean + c)) * inverse;
    store_bytes(NearestInt(x), 0, to + c);
  }
  return scale;
}

constexpr int64_t kLargestIntHead = 512;

// kLanes rows of bytes as columns of units.
inline void interleave_rows(const int8_t (*rows)[kLargestIntHead], int64_t units, uint32_t* to, int64_t stride) {
  for (int64_t u = 0; u < units; u += kLanes) {
    alignas(64) uint32_t columns[kLanes * kLanes];
    transpose(rows[0] + u * 4, kLargestIntHead, kLanes, columns, kLanes);
    for (int64_t i = 0; i < kLanes && u + i < units; ++i) std::memcpy(to + (u + i) * stride, columns + i * kLanes, kLanes * 4);
  }
}

// The first key of a pair of weights: as they come out of weigh_block(), whose packing takes 128 bits of either half of a panel in turn.
constexpr int first_of_pair(int pair) { return pair % 4 / 2 * kLanes + pair / 4 * 4 + pair % 2 * 2; }

// `block`: kIntKeys keys.
void int_pack_panel(const AttentionShape& s, const AttentionArgs& args, const AttentionLayout& l, int64_t batch, int64_t head, int64_t block,
                    void* packed_k, void* packed_v) {
  const IntPacked packed{l, static_cast<float*>(packed_k), static_cast<float*>(packed_v)};
  const int64_t element = static_cast<int64_t>(element_size(s.dtype)), key0 = block * kIntKeys,
                keys = s.kv_len - key0 < kIntKeys ? s.kv_len - key0 : kIntKeys;
  const char* k_row = token_row(args.k, args.k_strides, batch, key0, s, head);
  const int64_t k_bytes = args.k_strides.token * element;
  alignas(64) int8_t rows[kLanes][kLargestIntHead];
  for (int64_t j = 0; j < up(keys, kPanel); j += kLanes) {
    for (int64_t i = 0; i < kLanes; ++i) {
      float scale = 0;
      int32_t sum = 0;
      if (j + i < keys) {
        scale = int8_row(s.dtype, k_row + (j + i) * k_bytes, packed.k_mean(), s.head_dim, packed.mean_size(), rows[i]);
        for (int64_t c = 0; c < packed.mean_size(); ++c) sum += rows[i][c];
      } else {
        std::memset(rows[i], 0, sizeof rows[i]);
      }
      packed.key_scales()[key0 + j + i] = scale, packed.key_offsets()[key0 + j + i] = -128 * sum;
    }
    interleave_rows(rows, l.head_units, packed.keys((key0 + j) / kPanel) + j % kPanel, kPanel);
  }
  const char* v_row = token_row(args.v, args.v_strides, batch, key0, s, head);
  const int64_t v_bytes = args.v_strides.token * element;
  for (int64_t c = 0; c < l.out_columns; c += kLanes) {
    const VF mean = LoadU(packed.v_mean() + c);
    const auto value = [&](int64_t j) { return j < keys ? load_padded(s.dtype, v_row + j * v_bytes, c, s.head_dim) - mean : Zero(); };
    VF largest = Zero();
    for (int64_t j = 0; j < keys; ++j) largest = grow(largest, value(j));
    alignas(64) float scales[kLanes], inverses[kLanes];
    StoreU(largest, scales);
    for (int i = 0; i < kLanes; ++i) scales[i] = int_scale(scales[i], kLargestValue), inverses[i] = inverse_of(scales[i]);
    StoreU(LoadU(scales) * Set(1 / kLargestWeight), packed.value_scales(block) + c);
    const VF inverse = LoadU(inverses);
    const int64_t group = c & ~int64_t{kPanel - 1}, width = l.out_columns - group < kPanel ? kLanes : kPanel;
    uint32_t* to = packed.values(block, group) + (c - group);
    for (int64_t j = 0; j < up(keys, kPanel); j += kPanel)
      for (int pair = 0; pair < kPanel / 2; ++pair, to += width) {
        const auto rounded = [&](int64_t key) { return NearestInt(value(key) * inverse); };
        const int64_t first = j + first_of_pair(pair);
        _mm512_storeu_si512(to, pair_int16(rounded(first), rounded(first + 1)));
      }
  }
}

// Written out: with the intrinsics GCC 12 keeps a copy of every sum in memory.
[[gnu::always_inline]] inline __m512i add_bytes(__m512i sum, __m512i a, __m512i b) {
  asm("vpdpbusd %[b], %[a], %[sum]" : [sum] "+v"(sum) : [a] "v"(a), [b] "v"(b));
  return sum;
}
[[gnu::always_inline]] inline __m512i add_pairs(__m512i sum, __m512i a, __m512i b) {
  asm("vpdpwssd %[b], %[a], %[sum]" : [sum] "+v"(sum) : [a] "v"(a), [b] "v"(b));
  return sum;
}

// scores[MR][keys of the panel], kIntScoreStride apart: times the key's scale, not yet the query's.
template <int MR>
[[gnu::noinline]] void int_scores(const uint32_t* q, const uint32_t* k, int64_t units, const int32_t* offsets, const float* scales, float* scores) {
  __m512i acc[MR][2];
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r) acc[r][0] = _mm512_loadu_si512(offsets), acc[r][1] = _mm512_loadu_si512(offsets + kLanes);
  for (const uint32_t* end = k + units * kPanel; k != end;) {
    const __m512i first = _mm512_loadu_si512(k), second = _mm512_loadu_si512(k + kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      __m512i x = _mm512_set1_epi32(static_cast<int>(q[r]));
      asm("" : "+v"(x));  // one broadcast for both products
      acc[r][0] = add_bytes(acc[r][0], x, first);
      acc[r][1] = add_bytes(acc[r][1], x, second);
    }
    k += kPanel, q += kQueryStep;
    asm volatile("" : "+r"(k), "+r"(q));
  }
  const VF scale[2] = {LoadU(scales), LoadU(scales + kLanes)};
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) StoreU(ConvertTo(acc[r][j]) * scale[j], scores + r * kIntScoreStride + j * kLanes);
}

// out[MR][columns of the group], `stride` apart, = shrink[MR] * out + scales * (weights V).
template <int MR, int NV>
[[gnu::noinline]] void int_values(const uint32_t* weights, const uint32_t* v, int64_t pairs, const float* scales, const float* shrink, float* out,
                                  int64_t stride) {
  __m512i acc[MR][NV];
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) acc[r][j] = _mm512_setzero_si512();
  for (const uint32_t* end = v + pairs * NV * kLanes; v != end;) {
    __m512i panel[NV];
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) panel[j] = _mm512_loadu_si512(v + j * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      __m512i x = _mm512_set1_epi32(static_cast<int>(weights[r * kIntWeightStride]));
      if (NV > 1) asm("" : "+v"(x));
#pragma GCC unroll 2
      for (int j = 0; j < NV; ++j) acc[r][j] = add_pairs(acc[r][j], x, panel[j]);
    }
    v += NV * kLanes, ++weights;
    asm volatile("" : "+r"(v), "+r"(weights));
  }
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < NV; ++j) {
      float* to = out + r * stride + j * kLanes;
      StoreU(MulAdd(ConvertTo(acc[r][j]), LoadU(scales + j * kLanes), LoadU(to) * Set(shrink[r])), to);
    }
}

template <int MR = 1>
void int_scores_rows(int64_t rows, const uint32_t* q, const uint32_t* k, int64_t units, const int32_t* offsets, const float* scales, float* scores) {
  if constexpr (MR < kRows) {
    if (rows != MR) return int_scores_rows<MR + 1>(rows, q, k, units, offsets, scales, scores);
  }
  int_scores<MR>(q, k, units, offsets, scales, scores);
}
template <int NV, int MR = 1>
void int_values_rows(int64_t rows, const uint32_t* weights, const uint32_t* v, int64_t pairs, const float* scales, const float* shrink, float* out,
                     int64_t stride) {
  if constexpr (MR < kRows) {
    if (rows != MR) return int_values_rows<NV, MR + 1>(rows, weights, v, pairs, scales, shrink, out, stride);
  }
  int_values<MR, NV>(weights, v, pairs, scales, shrink, out, stride);
}

// A row's weights of a block of keys, 2^(factor * score - reference) in units of 1 / kLargestWeight, of `keys` keys; returns their sum.
inline float weigh_block(const float* scores, float factor, float reference, int64_t keys, uint32_t* weights) {
  constexpr float kScale = 14.99995597f;  // log2(kLargestWeight)
  const VF scale = Set(factor), base = Set(kScale - reference);
  const __m512i ones = _mm512_set1_epi16(1);
  __m512i sum = _mm512_setzero_si512();
  for (int64_t j = 0; j < keys; j += kPanel, weights += kPanel / 2) {
    VF x = exp2_line(MulAdd(LoadU(scores + j), scale, base)), y = exp2_line(MulAdd(LoadU(scores + j + kLanes), scale, base));
    if (j + kPanel > keys) x = first_lanes(x, keys - j, 0), y = first_lanes(y, keys - j - kLanes, 0);
    const __m512i pairs = _mm512_packs_epi32(NearestInt(x), NearestInt(y));
    sum = add_pairs(sum, pairs, ones);
    _mm512_storeu_si512(weights, pairs);
  }
  return static_cast<float>(_mm512_reduce_add_epi32(sum)) / kLargestWeight;
}

inline float largest_score(const float* scores, int64_t keys) {
  VF m[2] = {Set(-__builtin_inff()), Set(-__builtin_inff())};
  int64_t j = 0;
  for (; j + kPanel <= keys; j += kPanel) m[0] = Max(m[0], LoadU(scores + j)), m[1] = Max(m[1], LoadU(scores + j + kLanes));
  for (; j < keys; j += kLanes) m[0] = Max(m[0], first_lanes(LoadU(scores + j), keys - j, -__builtin_inff()));
  return ReduceMax(Max(m[0], m[1]));
}

// A block of query rows of one head. A tile of rows: its queries, what each row's scores are multiplied by (factors), the exponent of its largest
// weight so far (references), its sum of weights, and its results so far.
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
  float* factors(int64_t tile) const { return first_tile + tile * (int_query_tile(l) + 3 * kLanes + kRows * l.out_columns); }
  float* references(int64_t tile) const { return factors(tile) + kLanes; }
  float* sums(int64_t tile) const { return factors(tile) + 2 * kLanes; }
  uint32_t* queries(int64_t tile) const { return reinterpret_cast<uint32_t*>(factors(tile) + 3 * kLanes); }
  float* out(int64_t tile) const { return factors(tile) + 3 * kLanes + int_query_tile(l); }

  void load_queries(int64_t tile) {
    constexpr float kLog2E = 1.4426950408889634f;
    alignas(64) static const float no_mean[kLargestIntHead] = {};
    alignas(64) int8_t rows[kLanes][kLargestIntHead];
    std::memset(rows, 0, sizeof rows);
    const int64_t bytes = task.args->q_strides.token * static_cast<int64_t>(element_size(s.dtype));
    const char* row = token_row(task.args->q, task.args->q_strides, task.batch, task.row + first(tile), s, task.head);
    for (int64_t r = 0; r < length(tile); ++r, row += bytes) {
      // Factors are not negative, so that the largest score stays the largest.
      factors(tile)[r] = int8_row(s.dtype, row, no_mean, s.head_dim, packed.mean_size(), rows[r]) * __builtin_fabsf(s.scale) * kLog2E;
      for (int64_t c = 0; s.scale < 0 && c < packed.mean_size(); ++c) rows[r][c] = static_cast<int8_t>(-rows[r][c]);
      references(tile)[r] = -__builtin_inff(), sums(tile)[r] = 0;
    }
    interleave_rows(rows, l.head_units, queries(tile), kQueryStep);
    for (int64_t i = 0; i < int_query_tile(l); ++i) queries(tile)[i] ^= 0x80808080;
    std::memset(out(tile), 0, static_cast<size_t>(kRows * l.out_columns) * 4);
  }

  void add_block(int64_t tile, int64_t block) {
    const int64_t rows = length(tile), key0 = block * kIntKeys, keys = s.kv_len - key0 < kIntKeys ? s.kv_len - key0 : kIntKeys;
    for (int64_t j = 0; j < keys; j += kPanel)
      int_scores_rows(rows, queries(tile), packed.keys((key0 + j) / kPanel), l.head_units, packed.key_offsets() + key0 + j,
                      packed.key_scales() + key0 + j, scores + j);
    float shrink[kRows];
    for (int64_t r = 0; r < rows; ++r) {
      const float factor = factors(tile)[r], before = references(tile)[r], seen = largest_score(scores + r * kIntScoreStride, keys) * factor;
      const float reference = seen < before ? before : seen;  // NaN where a score is none
      shrink[r] = __builtin_exp2f(before - reference);
      references(tile)[r] = reference;
      sums(tile)[r] = sums(tile)[r] * shrink[r] + weigh_block(scores + r * kIntScoreStride, factor, reference, keys, weights + r * kIntWeightStride);
    }
    const int64_t pairs = up(keys, kPanel) / 2;
    for (int64_t column = 0; column < l.out_columns; column += kPanel) {
      const auto multiply = l.out_columns - column < kPanel ? int_values_rows<1> : int_values_rows<2>;
      multiply(rows, weights, packed.values(block, column), pairs, packed.value_scales(block) + column, shrink, out(tile) + column, l.out_columns);
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

void int_run(AttentionKind, const AttentionTask& task) {
  IntRows rows{task};
  for (int64_t tile = 0; tile < rows.tiles; ++tile) rows.load_queries(tile);
  for (int64_t block = 0; block < rows.l.panels; ++block)
    for (int64_t tile = 0; tile < rows.tiles; ++tile) rows.add_block(tile, block);
  for (int64_t tile = 0; tile < rows.tiles; ++tile) rows.write(tile);
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
