// The vector of simd.h on AVX-512 (F, BW, DQ, VL), with BF16 where it is compiled in. Names and meanings are those of
// simd_baseline.h.
#pragma once

namespace vivace::cpu::VIVACE_SIMD {
namespace {

using VF = __m512;
using VI = __m512i;
using Mask = __mmask16;
inline constexpr int kLanes = 16;

VIVACE_INLINE Mask first_lanes(int64_t n) { return static_cast<Mask>((1u << n) - 1); }

VIVACE_INLINE VF splat(float f) { return _mm512_set1_ps(f); }
VIVACE_INLINE VI splat_int(int32_t i) { return _mm512_set1_epi32(i); }
VIVACE_INLINE VF fma(VF a, VF b, VF c) { return _mm512_fmadd_ps(a, b, c); }
VIVACE_INLINE VF min_or_b(VF a, VF b) { return _mm512_min_ps(a, b); }
VIVACE_INLINE VF max_or_b(VF a, VF b) { return _mm512_max_ps(a, b); }
VIVACE_INLINE VF square_root(VF a) { return _mm512_sqrt_ps(a); }
VIVACE_INLINE VF round_even(VF a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VIVACE_INLINE VI to_int(VF a) { return _mm512_cvtps_epi32(a); }
VIVACE_INLINE VF to_float(VI a) { return _mm512_cvtepi32_ps(a); }
VIVACE_INLINE VI bits(VF a) { return _mm512_castps_si512(a); }
VIVACE_INLINE VF from_bits(VI a) { return _mm512_castsi512_ps(a); }
VIVACE_INLINE VF times_power_of_two(VF e, VF n) { return _mm512_scalef_ps(e, n); }
VIVACE_INLINE void add_to_doubles(VF v, double* p) {
  _mm512_storeu_pd(p, _mm512_add_pd(_mm512_loadu_pd(p), _mm512_cvtps_pd(_mm512_castps512_ps256(v))));
  _mm512_storeu_pd(p + 8, _mm512_add_pd(_mm512_loadu_pd(p + 8), _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1))));
}
VIVACE_INLINE float reduce_sum(VF v) { return _mm512_reduce_add_ps(v); }
VIVACE_INLINE float reduce_max(VF v) { return _mm512_reduce_max_ps(v); }

VIVACE_INLINE VI add_int(VI a, VI b) { return _mm512_add_epi32(a, b); }
VIVACE_INLINE VI max_int(VI a, VI b) { return _mm512_max_epi32(a, b); }
VIVACE_INLINE int32_t reduce_max_int(VI a) { return _mm512_reduce_max_epi32(a); }
VIVACE_INLINE VI sub_int(VI a, VI b) { return _mm512_sub_epi32(a, b); }
VIVACE_INLINE VI and_int(VI a, VI b) { return _mm512_and_si512(a, b); }
VIVACE_INLINE VI or_int(VI a, VI b) { return _mm512_or_si512(a, b); }
VIVACE_INLINE VI xor_int(VI a, VI b) { return _mm512_xor_si512(a, b); }
template <int k>
VIVACE_INLINE VI shift_left(VI a) {
  return _mm512_slli_epi32(a, k);
}
template <int k>
VIVACE_INLINE VI shift_right(VI a) {
  return _mm512_srli_epi32(a, k);
}
template <int k>
VIVACE_INLINE VI shift_right_signed(VI a) {
  return _mm512_srai_epi32(a, k);
}

VIVACE_INLINE Mask less(VF a, VF b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
VIVACE_INLINE Mask is_nan(VF a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
VIVACE_INLINE Mask is_set(VI a) { return _mm512_test_epi32_mask(a, a); }
VIVACE_INLINE VF select(Mask m, VF a, VF b) { return _mm512_mask_blend_ps(m, b, a); }
VIVACE_INLINE VI select_int(Mask m, VI a, VI b) { return _mm512_mask_blend_epi32(m, b, a); }
VIVACE_INLINE bool any(Mask m) { return m != 0; }

VIVACE_INLINE VF rotate_pairs(VF a, VF table) {
  return _mm512_fmaddsub_ps(a, _mm512_moveldup_ps(table), _mm512_permute_ps(a, 0xb1) * _mm512_movehdup_ps(table));
}

VIVACE_INLINE VF load_f32(const float* p) { return _mm512_loadu_ps(p); }
VIVACE_INLINE VF load_f32(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
VIVACE_INLINE void store_f32(VF v, float* p) { _mm512_storeu_ps(p, v); }
VIVACE_INLINE void store_f32(VF v, float* p, int64_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), v); }
VIVACE_INLINE VF keep_first(VF v, int64_t n) { return _mm512_maskz_mov_ps(first_lanes(n), v); }
VIVACE_INLINE void copy_words(const uint16_t* from, uint16_t* to, int64_t n) {
  _mm256_mask_storeu_epi16(to, first_lanes(n), _mm256_maskz_loadu_epi16(first_lanes(n), from));
}

VIVACE_INLINE VF load_bf16(const uint16_t* p) {
  return from_bits(shift_left<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))));
}
VIVACE_INLINE void store_bf16(VF v, uint16_t* p) {
#if defined(__AVX512BF16__)
  // The instruction takes subnormals for zero; every level must give the same bits.
  if (__builtin_expect(_mm512_fpclass_ps_mask(v, 0x20) == 0, 1)) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
    return;
  }
#endif
  const VI u = bits(v);
  const VI rounded = add_int(add_int(u, splat_int(0x7fff)), and_int(shift_right<16>(u), splat_int(1)));
  const VI kept = _mm512_mask_or_epi32(rounded, is_nan(v), u, splat_int(0x400000));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(shift_right<16>(kept)));
}
VIVACE_INLINE VF load_f16(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
VIVACE_INLINE void store_f16(VF v, uint16_t* p) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }
VIVACE_INLINE void store_bytes(VI v, uint8_t flip, int8_t* p) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_xor_si128(_mm512_cvtsepi32_epi8(v), _mm_set1_epi8(static_cast<char>(flip))));
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
