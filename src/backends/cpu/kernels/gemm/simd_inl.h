// The few vector operations that packing and epilogues need, for whichever level the including file is compiled for. Internal linkage.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "tensor/half.h"  // for the types alone: its functions would be compiled for this level and could be linked into any

namespace vivace::cpu::gemm_detail {
namespace {

struct bf16_lo {
  uint16_t bits;
};

#ifdef __AVX512F__

using Vec = __m512;
using VecI = __m512i;
constexpr int kLanes = 16;

inline Vec splat(float x) { return _mm512_set1_ps(x); }
inline VecI splat_int(int32_t x) { return _mm512_set1_epi32(x); }
inline Vec zero() { return _mm512_setzero_ps(); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
// a * b + c
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
// c - a * b
inline Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }
// Both return x when it is a NaN.
inline Vec at_least(Vec bound, Vec x) { return _mm512_max_ps(bound, x); }
inline Vec at_most(Vec bound, Vec x) { return _mm512_min_ps(bound, x); }
inline Vec abs(Vec x) { return _mm512_abs_ps(x); }
// x > 0 ? a : b
inline Vec if_positive(Vec x, Vec a, Vec b) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ), b, a); }
inline Vec reciprocal(Vec x) {
  const Vec r = _mm512_rcp14_ps(x);
  return mul(r, _mm512_fnmadd_ps(x, r, _mm512_set1_ps(2.f)));
}
inline Vec round_even(Vec x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// x * 2^n for an integral n
inline Vec scale_exponent(Vec x, Vec n) { return _mm512_scalef_ps(x, n); }

inline VecI bits(Vec x) { return _mm512_castps_si512(x); }
inline Vec from_bits(VecI x) { return _mm512_castsi512_ps(x); }
inline Vec to_float(VecI x) { return _mm512_cvtepi32_ps(x); }
inline VecI sub_int(VecI a, VecI b) { return _mm512_sub_epi32(a, b); }
inline VecI and_int(VecI a, VecI b) { return _mm512_and_si512(a, b); }
inline VecI max_int(VecI a, VecI b) { return _mm512_max_epi32(a, b); }

inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline VecI load_int(const int32_t* p) { return _mm512_loadu_si512(p); }
inline Vec load(const bf16* p) {
  return from_bits(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}
inline Vec load(const f16* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline Vec load(const int8_t* p) { return to_float(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))); }
inline Vec load(const f8e4m3* p) {
  const VecI x = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const VecI magnitude = and_int(x, splat_int(0x7f)), sign = _mm512_slli_epi32(and_int(x, splat_int(0x80)), 24);
  VecI value = _mm512_add_epi32(_mm512_slli_epi32(magnitude, 20), splat_int(120 << 23));
  // Exponent 0: a multiple of 2^-9.
  value = _mm512_mask_mov_epi32(value, _mm512_cmplt_epi32_mask(magnitude, splat_int(8)), bits(mul(to_float(magnitude), splat(0x1p-9f))));
  value = _mm512_mask_mov_epi32(value, _mm512_cmpeq_epi32_mask(magnitude, splat_int(0x7f)), splat_int(0x7fc00000));
  return from_bits(_mm512_or_si512(value, sign));
}

inline void store(float* p, Vec x) { _mm512_storeu_ps(p, x); }
inline void store(f16* p, Vec x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline __m256i to_bf16(Vec x) {
#ifdef __AVX512BF16__
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
#else
  const VecI u = bits(x), odd = and_int(_mm512_srli_epi32(u, 16), splat_int(1));
  VecI rounded = _mm512_add_epi32(_mm512_add_epi32(u, splat_int(0x7fff)), odd);
  // A NaN must stay one: rounding could carry its payload into infinity.
  rounded = _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), u, splat_int(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
#endif
}
inline void store(bf16* p, Vec x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16(x)); }
inline void store(bf16_lo* p, Vec x) {
  const Vec high = from_bits(_mm512_slli_epi32(_mm512_cvtepu16_epi32(to_bf16(x)), 16));
  // An infinite high part has no rest: infinity - infinity would turn the product into NaN.
  const __mmask16 finite = _mm512_cmp_ps_mask(abs(high), splat(3.4e38f), _CMP_LE_OQ);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16(_mm512_maskz_sub_ps(finite, x, high)));
}
// To nearest even; what fits.
inline void store_int16(int16_t* p, Vec x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x))); }

#else

using Vec = __m256;
using VecI = __m256i;
constexpr int kLanes = 8;

inline Vec splat(float x) { return _mm256_set1_ps(x); }
inline VecI splat_int(int32_t x) { return _mm256_set1_epi32(x); }
inline Vec zero() { return _mm256_setzero_ps(); }
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }
inline Vec at_least(Vec bound, Vec x) { return _mm256_max_ps(bound, x); }
inline Vec at_most(Vec bound, Vec x) { return _mm256_min_ps(bound, x); }
inline Vec abs(Vec x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.f), x); }
inline Vec if_positive(Vec x, Vec a, Vec b) { return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ)); }
inline Vec reciprocal(Vec x) { return _mm256_div_ps(splat(1.f), x); }
inline Vec round_even(Vec x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Vec scale_exponent(Vec x, Vec n) {
  // The factor's exponent is clamped to what a normal float holds: beyond it results are 2^-126 of their size, or very large.
  const VecI exponent = _mm256_cvtps_epi32(at_least(splat(-126.f), at_most(splat(127.f), n)));
  return mul(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(exponent, splat_int(127)), 23)));
}

inline VecI bits(Vec x) { return _mm256_castps_si256(x); }
inline Vec from_bits(VecI x) { return _mm256_castsi256_ps(x); }
inline Vec to_float(VecI x) { return _mm256_cvtepi32_ps(x); }
inline VecI sub_int(VecI a, VecI b) { return _mm256_sub_epi32(a, b); }
inline VecI and_int(VecI a, VecI b) { return _mm256_and_si256(a, b); }
inline VecI max_int(VecI a, VecI b) { return _mm256_max_epi32(a, b); }

inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline VecI load_int(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline Vec load(const bf16* p) {
  return from_bits(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}
inline Vec load(const f16* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline Vec load(const int8_t* p) { return to_float(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))); }
inline Vec load(const f8e4m3* p) {
  const VecI x = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  const VecI magnitude = and_int(x, splat_int(0x7f)), sign = _mm256_slli_epi32(and_int(x, splat_int(0x80)), 24);
  VecI value = _mm256_add_epi32(_mm256_slli_epi32(magnitude, 20), splat_int(120 << 23));
  value = _mm256_blendv_epi8(value, bits(mul(to_float(magnitude), splat(0x1p-9f))), _mm256_cmpgt_epi32(splat_int(8), magnitude));
  value = _mm256_blendv_epi8(value, splat_int(0x7fc00000), _mm256_cmpeq_epi32(magnitude, splat_int(0x7f)));
  return from_bits(_mm256_or_si256(value, sign));
}

inline void store(float* p, Vec x) { _mm256_storeu_ps(p, x); }
inline void store(f16* p, Vec x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline void store(bf16* p, Vec x) {
  const VecI u = bits(x), odd = and_int(_mm256_srli_epi32(u, 16), splat_int(1));
  const VecI rounded = _mm256_add_epi32(_mm256_add_epi32(u, splat_int(0x7fff)), odd);
  const VecI nan = _mm256_or_si256(u, splat_int(0x400000));
  const VecI y = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, nan, bits(_mm256_cmp_ps(x, x, _CMP_UNORD_Q))), 16);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packus_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1)));
}
inline void store_int16(int16_t* p, Vec first, Vec second) {
  const __m256i halves = _mm256_packs_epi32(_mm256_cvtps_epi32(first), _mm256_cvtps_epi32(second));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(halves, 0xd8));
}

#endif

}  // namespace
}  // namespace vivace::cpu::gemm_detail
