// The vector of simd.h on AVX2, FMA and F16C. Names and meanings are those of simd_baseline.h.
#pragma once

namespace vivace::cpu::VIVACE_SIMD {
namespace {

using VF = __m256;
using VI = __m256i;
using Mask = __m256;
inline constexpr int kLanes = 8;

VIVACE_INLINE __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

VIVACE_INLINE VF splat(float f) { return _mm256_set1_ps(f); }
VIVACE_INLINE VI splat_int(int32_t i) { return _mm256_set1_epi32(i); }
VIVACE_INLINE VF fma(VF a, VF b, VF c) { return _mm256_fmadd_ps(a, b, c); }
VIVACE_INLINE VF min_or_b(VF a, VF b) { return _mm256_min_ps(a, b); }
VIVACE_INLINE VF max_or_b(VF a, VF b) { return _mm256_max_ps(a, b); }
VIVACE_INLINE VF square_root(VF a) { return _mm256_sqrt_ps(a); }
VIVACE_INLINE VF round_even(VF a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VIVACE_INLINE VI to_int(VF a) { return _mm256_cvtps_epi32(a); }
VIVACE_INLINE VF to_float(VI a) { return _mm256_cvtepi32_ps(a); }
VIVACE_INLINE VI bits(VF a) { return _mm256_castps_si256(a); }
VIVACE_INLINE VF from_bits(VI a) { return _mm256_castsi256_ps(a); }

VIVACE_INLINE VI add_int(VI a, VI b) { return _mm256_add_epi32(a, b); }
VIVACE_INLINE VI max_int(VI a, VI b) { return _mm256_max_epi32(a, b); }
VIVACE_INLINE int32_t reduce_max_int(VI a) {
  alignas(32) int32_t lanes[kLanes];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), a);
  int32_t best = lanes[0];
  for (int32_t lane : lanes) best = lane > best ? lane : best;
  return best;
}
VIVACE_INLINE VI sub_int(VI a, VI b) { return _mm256_sub_epi32(a, b); }
VIVACE_INLINE VI and_int(VI a, VI b) { return _mm256_and_si256(a, b); }
VIVACE_INLINE VI or_int(VI a, VI b) { return _mm256_or_si256(a, b); }
VIVACE_INLINE VI xor_int(VI a, VI b) { return _mm256_xor_si256(a, b); }
template <int k>
VIVACE_INLINE VI shift_left(VI a) {
  return _mm256_slli_epi32(a, k);
}
template <int k>
VIVACE_INLINE VI shift_right(VI a) {
  return _mm256_srli_epi32(a, k);
}
template <int k>
VIVACE_INLINE VI shift_right_signed(VI a) {
  return _mm256_srai_epi32(a, k);
}
VIVACE_INLINE VF times_power_of_two(VF e, VF n) {
  const VI whole = to_int(n), half = shift_right_signed<1>(whole), bias = splat_int(127);
  return e * from_bits(shift_left<23>(add_int(half, bias))) * from_bits(shift_left<23>(add_int(sub_int(whole, half), bias)));
}
VIVACE_INLINE void add_to_doubles(VF v, double* p) {
  _mm256_storeu_pd(p, _mm256_add_pd(_mm256_loadu_pd(p), _mm256_cvtps_pd(_mm256_castps256_ps128(v))));
  _mm256_storeu_pd(p + 4, _mm256_add_pd(_mm256_loadu_pd(p + 4), _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1))));
}
VIVACE_INLINE float reduce_sum(VF v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
VIVACE_INLINE float reduce_max(VF v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

VIVACE_INLINE Mask less(VF a, VF b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
VIVACE_INLINE Mask is_nan(VF a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
VIVACE_INLINE Mask is_set(VI a) { return from_bits(_mm256_xor_si256(_mm256_cmpeq_epi32(a, _mm256_setzero_si256()), _mm256_set1_epi32(-1))); }
VIVACE_INLINE VF select(Mask m, VF a, VF b) { return _mm256_blendv_ps(b, a, m); }
VIVACE_INLINE VI select_int(Mask m, VI a, VI b) { return bits(select(m, from_bits(a), from_bits(b))); }
VIVACE_INLINE bool any(Mask m) { return _mm256_movemask_ps(m) != 0; }

VIVACE_INLINE VF rotate_pairs(VF a, VF table) {
  return _mm256_fmaddsub_ps(a, _mm256_moveldup_ps(table), _mm256_permute_ps(a, 0xb1) * _mm256_movehdup_ps(table));
}

VIVACE_INLINE VF load_f32(const float* p) { return _mm256_loadu_ps(p); }
VIVACE_INLINE VF load_f32(const float* p, int64_t n) { return _mm256_maskload_ps(p, first_lanes(n)); }
VIVACE_INLINE void store_f32(VF v, float* p) { _mm256_storeu_ps(p, v); }
VIVACE_INLINE void store_f32(VF v, float* p, int64_t n) { _mm256_maskstore_ps(p, first_lanes(n), v); }
VIVACE_INLINE VF keep_first(VF v, int64_t n) { return _mm256_and_ps(v, from_bits(first_lanes(n))); }
VIVACE_INLINE void copy_words(const uint16_t* from, uint16_t* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = from[i];
}

VIVACE_INLINE VF load_bf16(const uint16_t* p) {
  return from_bits(shift_left<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))));
}
VIVACE_INLINE void store_bf16(VF v, uint16_t* p) {
  const VI u = bits(v);
  const VI rounded = add_int(add_int(u, splat_int(0x7fff)), and_int(shift_right<16>(u), splat_int(1)));
  const VI kept = shift_right<16>(select_int(is_nan(v), or_int(u, splat_int(0x400000)), rounded));
  const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(kept), _mm256_extracti128_si256(kept, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
}
VIVACE_INLINE VF load_f16(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
VIVACE_INLINE void store_f16(VF v, uint16_t* p) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }
VIVACE_INLINE void store_bytes(VI v, uint8_t flip, int8_t* p) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const __m128i bytes = _mm_packs_epi16(words, words);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_xor_si128(bytes, _mm_set1_epi8(static_cast<char>(flip))));
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
