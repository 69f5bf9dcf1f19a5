// The inner loops of Strassen's algorithm (strassen.h), compiled per level. Internal linkage.
#pragma once

#include <utility>

#include "backends/cpu/kernels/gemm/elements_inl.h"
#include "backends/cpu/kernels/gemm/level.h"
#ifdef __AVX512F__
#include "backends/cpu/kernels/microkernel_avx512.h"
#else
#include "backends/cpu/kernels/microkernel_avx2.h"
#endif

namespace vivace::cpu::VIVACE_SIMD {
namespace {

// Sixteen at every level.
inline __m256i load16(const int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

template <class From, class To, int kTerms>
void combine_terms(const From* a, const From* b, bool subtract, To* to, int64_t n) {
  if constexpr (std::is_same_v<To, float>) {
    const VF sign = Set(subtract ? -1.f : 1.f);
    for (int64_t i = 0; i < n; i += kLanes) {
      VF sum = load(a + i);
      if constexpr (kTerms == 2) sum = MulAdd(load(b + i), sign, sum);
      store(sum, to + i);
    }
  } else {
    const __m256i sign = _mm256_set1_epi16(subtract ? -1 : 1);
    for (int64_t i = 0; i < n; i += 16) {
      __m256i sum = load16(a + i);
      if constexpr (kTerms == 2) sum = _mm256_add_epi16(sum, _mm256_sign_epi16(load16(b + i), sign));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), sum);
    }
  }
}

template <class From, class To>
void combine(const void* const* from, int terms, bool subtract, void* to, int64_t n) {
  const From* a = static_cast<const From*>(from[0]);
  if (terms == 1) return combine_terms<From, To, 1>(a, nullptr, false, static_cast<To*>(to), n);
  combine_terms<From, To, 2>(a, static_cast<const From*>(from[1]), subtract, static_cast<To*>(to), n);
}

void interleave(const uint32_t* from, int64_t stride, int rows, int64_t units, void* to) {
  uint32_t* out = static_cast<uint32_t*>(to);
  for (int64_t u = 0; u < units; u += 4, out += 4 * rows) {
    if (rows < 4) {
      for (int i = 0; i < 4; ++i)
        for (int r = 0; r < rows; ++r) out[i * rows + r] = from[r * stride + u + i];
      continue;
    }
    // Four rows at a time; the last four may overlap those before.
    for (int r = 0; r < rows; r += 4) {
      const int row = r + 4 <= rows ? r : rows - 4;
      __m128 v[4];
      for (int i = 0; i < 4; ++i) v[i] = _mm_loadu_ps(reinterpret_cast<const float*>(from + (row + i) * stride + u));
      _MM_TRANSPOSE4_PS(v[0], v[1], v[2], v[3]);
      for (int i = 0; i < 4; ++i) _mm_storeu_ps(reinterpret_cast<float*>(out + i * rows + row), v[i]);
    }
  }
}

// A sum of products in float32, or in int32 of pairs of int16.
template <bool kInt>
inline VF multiply_add(VF a, VF b, VF sum) {
  if constexpr (!kInt) return MulAdd(a, b, sum);
  return BitCast(add_pairs(BitCast(sum), BitCast(a), BitCast(b)));
}

// A wrapped int32 sum on the way is mended by a later one.
template <bool kInt>
inline VF add_or_subtract(VF sum, VF x, bool subtract) {
  if constexpr (!kInt) return subtract ? sum - x : sum + x;
  const VI y = BitCast(x);
  return BitCast(Sub(BitCast(sum), subtract ? y : Sub(Set(0), y)));
}

template <bool kInt, int kRows>
void add_product(const void* a, int64_t units, const void* w, float* const* to, int terms, bool minus) {
  VF sum[kRows][2];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) sum[i][0] = sum[i][1] = Zero();
  const float *p = static_cast<const float*>(a), *v = static_cast<const float*>(w);
  const auto multiply = [&](int unit) __attribute__((always_inline)) {
    const VF first = LoadU(v + unit * 2 * kLanes), second = LoadU(v + unit * 2 * kLanes + kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      VF x = Set(p[unit * kRows + i]);
#ifndef __AVX512F__
      // 12 sums and the two panels leave two registers: no more than one broadcast at a time, not folded into either product.
      asm("" : "+x"(x));
#endif
      sum[i][0] = multiply_add<kInt>(x, first, sum[i][0]);
      sum[i][1] = multiply_add<kInt>(x, second, sum[i][1]);
    }
  };
  // See microkernel_avx2.h for the number of units.
  constexpr int kTurn = 2;
  for (const float* end = v + units * 2 * kLanes; v != end;) {
    multiply(0);
    multiply(1);
    p += kTurn * kRows, v += kTurn * 2 * kLanes;
    asm volatile("" : "+r"(p), "+r"(v));
  }
  for (int t = 0; t < terms; ++t) {
    const bool subtract = t == 1 && minus;
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        float* c = to[t] + (i * 2 + j) * kLanes;
        StoreU(add_or_subtract<kInt>(LoadU(c), sum[i][j], subtract), c);
      }
  }
}

template <bool kInt, int... kRows>
constexpr void fill_products(Level& level, std::integer_sequence<int, kRows...>) {
  ((level.add_product[kInt][kRows + 1] = add_product<kInt, kRows + 1>), ...);
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
