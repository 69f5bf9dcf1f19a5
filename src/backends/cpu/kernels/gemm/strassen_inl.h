// The sums of Strassen's algorithm (strassen.h), compiled per level. Internal linkage.
#pragma once

#include "backends/cpu/kernels/gemm/level.h"
#include "backends/cpu/kernels/gemm/simd_inl.h"

namespace vivace::cpu::gemm_detail {
namespace {

// Sixteen int16 at every level.
inline __m256i load16(const int8_t* p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline __m256i load16(const uint8_t* p) {
  return _mm256_sub_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), _mm256_set1_epi16(128));
}

template <class From, class To, int kTerms>
void combine_terms(const From* a, const From* b, bool subtract, To* to, int64_t n) {
  if constexpr (std::is_same_v<To, float>) {
    const Vec sign = splat(subtract ? -1.f : 1.f);
    for (int64_t i = 0; i < n; i += kLanes) {
      Vec sum = load(a + i);
      if constexpr (kTerms == 2) sum = fma(load(b + i), sign, sum);
      store(to + i, sum);
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
void combine(const void* const* from, int terms, unsigned minus, void* to, int64_t n) {
  const From *a = static_cast<const From*>(from[0]), *b = static_cast<const From*>(from[1]);
  if (terms == 1) return combine_terms<From, To, 1>(a, b, false, static_cast<To*>(to), n);
  combine_terms<From, To, 2>(a, b, minus != 0, static_cast<To*>(to), n);
}

// An int32 sum may overflow on the way: it wraps, and the last one fits again.
template <bool kInt>
void spread(const float* from, float* to, bool subtract, int64_t n) {
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 x = _mm256_loadu_ps(from + i), y = _mm256_loadu_ps(to + i);
    if constexpr (kInt) {
      const __m256i a = _mm256_castps_si256(y), b = _mm256_castps_si256(x);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), subtract ? _mm256_sub_epi32(a, b) : _mm256_add_epi32(a, b));
    } else {
      _mm256_storeu_ps(to + i, subtract ? _mm256_sub_ps(y, x) : _mm256_add_ps(y, x));
    }
  }
}

}  // namespace
}  // namespace vivace::cpu::gemm_detail
