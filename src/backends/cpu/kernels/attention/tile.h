// The two arithmetics and the packing of keys and values. Only for level.cc (see kernels.h).
//
// Everything is counted in units of 4 bytes along the reduction, one float32 or a pair of bfloat16, so the two arithmetics share all of this code
// and differ in one instruction. Layouts:
//   Q   tile of kRows rows: as the products want it (multiply.h, multiply_amx.h)
//   K   panel of kPanel keys: [head_units][kPanel]
//   V   column groups of kPanel (the last may be kColumnStep wide): [kv_padded / Op::kPair][width]
//   P   the softmax weights of a row tile over a block of keys: kRows rows, Op::kWeightStride apart
#pragma once

#include "backends/cpu/kernels/attention/exp2.h"
#include "backends/cpu/kernels/attention/kernels.h"
#include "backends/cpu/kernels/attention/transpose.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

constexpr float kLog2E = 1.4426950408889634f;  // exponents are powers of two
constexpr int kPanel = 2 * kLanes;
#ifdef VIVACE_AMX
constexpr int kRows = 32, kColumnStep = kPanel;
#else
// Accumulators of the tile plus two vectors of the panel and one of the rows fill the registers: 32 with AVX-512, 16 below.
constexpr int kRows = kLanes == 16 ? 14 : 6, kColumnStep = kLanes;
#endif
constexpr int kQueryStep = (kRows + kLanes - 1) / kLanes * kLanes;  // rows that a tile of Q has room for
constexpr int64_t kMaxBlockKeys = 512;
constexpr int64_t kScoreStride = kMaxBlockKeys + 16;  // the 16 keep the rows of a tile out of each other's cache sets

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Lanes below n keep v, the rest become `other`.
inline VF first_lanes(VF v, int64_t n, float other) { return IfThenElse(FirstN(n > kLanes ? kLanes : n < 0 ? 0 : n), v, Set(other)); }

inline VF load_as_float(DType dtype, const void* p) {
  if (dtype == DType::float32) return LoadU(static_cast<const float*>(p));
  return dtype == DType::bfloat16 ? load_bf16(static_cast<const uint16_t*>(p)) : load_f16(static_cast<const uint16_t*>(p));
}
inline void store_from_float(DType dtype, void* p, VF v) {
  if (dtype == DType::float32) return StoreU(v, static_cast<float*>(p));
  return dtype == DType::bfloat16 ? store_bf16_flushed(v, static_cast<uint16_t*>(p)) : store_f16(v, static_cast<uint16_t*>(p));
}
inline size_t element_size(DType dtype) { return dtype == DType::float32 ? 4 : 2; }

// Elements [first, first + count) of a row with `size` elements into a zero-filled buffer of `count`.
inline void copy_padded(const void* row, size_t element, int64_t first, int64_t count, int64_t size, void* to) {
  const char* from = static_cast<const char*>(row) + first * element;
  if (first + count <= size) {
    std::memcpy(to, from, static_cast<size_t>(count) * element);
    return;
  }
  std::memset(to, 0, static_cast<size_t>(count) * element);
  if (first < size) std::memcpy(to, from, static_cast<size_t>(size - first) * element);
}

inline VF load_padded(DType dtype, const void* row, int64_t first, int64_t size) {
  if (first + kLanes <= size) return load_as_float(dtype, static_cast<const char*>(row) + first * element_size(dtype));
  alignas(64) float buffer[kLanes];
  copy_padded(row, element_size(dtype), first, kLanes, size, buffer);
  return load_as_float(dtype, buffer);
}

struct F32Op {
  using Unit = float;
  using UnitVec = VF;
  static constexpr int kPair = 1;
  static constexpr int64_t kWeightStride = kMaxBlockKeys + 16;
  static UnitVec load(const Unit* p) { return LoadU(p); }
  static UnitVec broadcast(const Unit* p) { return Set(*p); }
  static VF dot(VF acc, UnitVec a, UnitVec b) { return MulAdd(a, b, acc); }
  static void store_weights(Unit* p, VF x, VF y) {
    StoreU(x, p);
    StoreU(y, p + kLanes);
  }
  // kLanes units of a row beginning at a unit, zero beyond the row's `size` elements.
  static void load_units(DType dtype, const void* row, int64_t first_unit, int64_t size, Unit* to) {
    StoreU(load_padded(dtype, row, first_unit, size), to);
  }
  static bool stores_units(DType dtype) { return dtype == DType::float32; }  // a row in memory is a row of units
  // kLanes columns of a row of V.
  static void interleave(DType dtype, const void* row, const void*, int64_t first, int64_t size, Unit* to) {
    StoreU(row ? load_padded(dtype, row, first, size) : Zero(), to);
  }
};

#if defined(__AVX512BF16__)
struct Bf16Op {
  using Unit = uint32_t;
  using UnitVec = __m512i;
  static constexpr int kPair = 2;
  static constexpr int64_t kWeightStride = kMaxBlockKeys / 2 + 16;
  static UnitVec load(const Unit* p) { return _mm512_loadu_si512(p); }
  static UnitVec broadcast(const Unit* p) { return _mm512_set1_epi32(static_cast<int>(*p)); }
  static VF dot(VF acc, UnitVec a, UnitVec b) { return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b); }
  static void store_weights(Unit* p, VF x, VF y) { _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(y, x)); }
  static void load_units(DType, const void* row, int64_t first_unit, int64_t size, Unit* to) {
    copy_padded(row, 2, 2 * first_unit, 2 * kLanes, size, to);
  }
  static bool stores_units(DType) { return true; }
  // kLanes columns of two rows of V, each column's pair in one unit.
  static void interleave(DType, const void* row0, const void* row1, int64_t first, int64_t size, Unit* to) {
    const __m512i high = _mm512_slli_epi32(widen(row1, first, size), 16);
    _mm512_storeu_si512(to, _mm512_or_si512(widen(row0, first, size), high));
  }

 private:
  static __m512i widen(const void* row, int64_t first, int64_t size) {
    if (!row) return _mm512_setzero_si512();
    const auto* p = reinterpret_cast<const __m256i*>(static_cast<const uint16_t*>(row) + first);
    if (first + kLanes <= size) return _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
    alignas(32) uint16_t buffer[kLanes];
    copy_padded(row, 2, first, kLanes, size, buffer);
    return _mm512_cvtepu16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(buffer)));
  }
};
#endif

inline const char* token_row(const void* base, const TokenStrides& strides, int64_t batch, int64_t token, const AttentionShape& s, int64_t head) {
  return static_cast<const char*>(base) + (batch * strides.batch + token * strides.token + head * s.head_dim) * element_size(s.dtype);
}

// kLanes units of up to kLanes rows, zero beyond the row count and the head's end, transposed.
template <class Op>
void transpose_units(const AttentionShape& s, const char* from, int64_t row_bytes, int64_t rows, int64_t unit, typename Op::Unit* to,
                     int64_t stride) {
  if ((unit + kLanes) * Op::kPair <= s.head_dim && Op::stores_units(s.dtype)) {
    return transpose(from + unit * sizeof(typename Op::Unit), row_bytes, rows, to, stride);
  }
  alignas(64) typename Op::Unit lines[kLanes * kLanes];
  for (int64_t i = 0; i < rows && i < kLanes; ++i) Op::load_units(s.dtype, from + i * row_bytes, unit, s.head_dim, lines + i * kLanes);
  transpose(lines, kLanes * sizeof(typename Op::Unit), rows, to, stride);
}

template <class Op>
void pack_panel(const AttentionShape& s, const AttentionArgs& args, const AttentionLayout& l, int64_t batch, int64_t head, int64_t panel,
                void* packed_k, void* packed_v) {
  using Unit = typename Op::Unit;
  const int64_t key0 = panel * kPanel, keys = s.kv_len - key0, element = static_cast<int64_t>(element_size(s.dtype));
  const char* k_row = token_row(args.k, args.k_strides, batch, key0, s, head);
  const int64_t k_bytes = args.k_strides.token * element;
  Unit* k_out = static_cast<Unit*>(packed_k) + panel * l.head_units * kPanel;
  for (int g = 0; g < kPanel; g += kLanes) {
    for (int64_t unit = 0; unit < l.head_units; unit += kLanes) {
      Unit* to = k_out + unit * kPanel + g;
      if (unit + kLanes <= l.head_units) {
        transpose_units<Op>(s, k_row + g * k_bytes, k_bytes, keys - g, unit, to, kPanel);
        continue;
      }
      alignas(64) Unit columns[kLanes * kLanes];
      transpose_units<Op>(s, k_row + g * k_bytes, k_bytes, keys - g, unit, columns, kLanes);
      for (int64_t u = 0; unit + u < l.head_units; ++u) std::memcpy(to + u * kPanel, columns + u * kLanes, kLanes * sizeof(Unit));
    }
  }
  const char* v_row = token_row(args.v, args.v_strides, batch, key0, s, head);
  const int64_t v_bytes = args.v_strides.token * element, kv_units = l.kv_padded / Op::kPair;
  for (int64_t column = 0; column < l.out_columns; column += kLanes) {
    const int64_t group = column & ~int64_t{kPanel - 1}, width = l.out_columns - group < kPanel ? kColumnStep : kPanel;
    Unit* to = static_cast<Unit*>(packed_v) + group * kv_units + key0 / Op::kPair * width + (column - group);
    for (int64_t i = 0; i < kPanel; i += Op::kPair, to += width) {
      const char* row = v_row + i * v_bytes;
      Op::interleave(s.dtype, i < keys ? row : nullptr, i + 1 < keys ? row + v_bytes : nullptr, column, s.head_dim, to);
    }
  }
}

// A row's weights for one panel, 2^(scale * score - reference), added to the row's vector of partial sums as well. For use between products.
template <class Op, bool Precise>
[[gnu::always_inline]] inline void weigh_row(const float* scores, float scale, float reference, float* sums, typename Op::Unit* weights) {
  const VF base = Set(-reference);
  const VF x = exp2_between_products<Precise>(MulAdd(LoadU(scores), Set(scale), base));
  const VF y = exp2_between_products<Precise>(MulAdd(LoadU(scores + kLanes), Set(scale), base));
  StoreU(LoadU(sums) + (x + y), sums);
  Op::store_weights(weights, x, y);
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
