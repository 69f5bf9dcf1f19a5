// The vectors of simd.h on AVX-512 (F, BW, DQ, VL), with BF16 where it is compiled in. baseline.h says what is not Highway's.
#pragma once

namespace vivace::cpu::VIVACE_SIMD {
namespace {

using VF = __m512;
using VI = __m512i;
using Mask = __mmask16;
inline constexpr int kLanes = 16;

VIVACE_INLINE VF Set(float f) { return _mm512_set1_ps(f); }
VIVACE_INLINE VI Set(int32_t i) { return _mm512_set1_epi32(i); }
VIVACE_INLINE VF Zero() { return _mm512_setzero_ps(); }
VIVACE_INLINE VI BitCast(VF a) { return _mm512_castps_si512(a); }
VIVACE_INLINE VF BitCast(VI a) { return _mm512_castsi512_ps(a); }

VIVACE_INLINE VF MulAdd(VF a, VF b, VF c) { return _mm512_fmadd_ps(a, b, c); }
VIVACE_INLINE VF Min(VF a, VF b) { return _mm512_min_ps(a, b); }
VIVACE_INLINE VF Max(VF a, VF b) { return _mm512_max_ps(a, b); }
VIVACE_INLINE VF Abs(VF a) { return _mm512_abs_ps(a); }
VIVACE_INLINE VF Sqrt(VF a) { return _mm512_sqrt_ps(a); }
VIVACE_INLINE VF Round(VF a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VIVACE_INLINE VI NearestInt(VF a) { return _mm512_cvtps_epi32(a); }
VIVACE_INLINE VF ConvertTo(VI a) { return _mm512_cvtepi32_ps(a); }
VIVACE_INLINE VF MulByFloorPow2(VF a, VF n) { return _mm512_scalef_ps(a, n); }
VIVACE_INLINE VF DupEven(VF a) { return _mm512_moveldup_ps(a); }
VIVACE_INLINE VF DupOdd(VF a) { return _mm512_movehdup_ps(a); }
VIVACE_INLINE VF Reverse2(VF a) { return _mm512_permute_ps(a, 0xb1); }
VIVACE_INLINE VF MulAddSub(VF a, VF b, VF c) { return _mm512_fmaddsub_ps(a, b, c); }
VIVACE_INLINE float ReduceSum(VF v) { return _mm512_reduce_add_ps(v); }
VIVACE_INLINE float ReduceMax(VF v) { return _mm512_reduce_max_ps(v); }
VIVACE_INLINE void add_to_doubles(VF v, double* p) {
  _mm512_storeu_pd(p, _mm512_add_pd(_mm512_loadu_pd(p), _mm512_cvtps_pd(_mm512_castps512_ps256(v))));
  _mm512_storeu_pd(p + 8, _mm512_add_pd(_mm512_loadu_pd(p + 8), _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1))));
}

VIVACE_INLINE VI Add(VI a, VI b) { return _mm512_add_epi32(a, b); }
VIVACE_INLINE VI Sub(VI a, VI b) { return _mm512_sub_epi32(a, b); }
VIVACE_INLINE VI And(VI a, VI b) { return _mm512_and_si512(a, b); }
VIVACE_INLINE VI Or(VI a, VI b) { return _mm512_or_si512(a, b); }
VIVACE_INLINE VI Xor(VI a, VI b) { return _mm512_xor_si512(a, b); }
VIVACE_INLINE VI Max(VI a, VI b) { return _mm512_max_epi32(a, b); }
VIVACE_INLINE int32_t ReduceMax(VI a) { return _mm512_reduce_max_epi32(a); }
template <int k>
VIVACE_INLINE VI ShiftLeft(VI a) {
  return _mm512_slli_epi32(a, k);
}
template <int k>
VIVACE_INLINE VI ShiftRight(VI a) {
  return _mm512_srai_epi32(a, k);
}
template <int k>
VIVACE_INLINE VI shift_right_unsigned(VI a) {
  return _mm512_srli_epi32(a, k);
}

VIVACE_INLINE Mask Lt(VF a, VF b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
VIVACE_INLINE Mask IsNaN(VF a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
VIVACE_INLINE Mask Lt(VI a, VI b) { return _mm512_cmplt_epi32_mask(a, b); }
VIVACE_INLINE Mask Eq(VI a, VI b) { return _mm512_cmpeq_epi32_mask(a, b); }
VIVACE_INLINE Mask TestBit(VI a, VI bit) { return _mm512_test_epi32_mask(a, bit); }
VIVACE_INLINE Mask FirstN(int64_t n) { return static_cast<Mask>((1u << n) - 1); }
VIVACE_INLINE bool AllFalse(Mask m) { return m == 0; }
VIVACE_INLINE VF IfThenElse(Mask m, VF a, VF b) { return _mm512_mask_blend_ps(m, b, a); }
VIVACE_INLINE VI IfThenElse(Mask m, VI a, VI b) { return _mm512_mask_blend_epi32(m, b, a); }
VIVACE_INLINE VF IfThenElseZero(Mask m, VF a) { return _mm512_maskz_mov_ps(m, a); }

VIVACE_INLINE VF LoadU(const float* p) { return _mm512_loadu_ps(p); }
VIVACE_INLINE VI LoadU(const int32_t* p) { return _mm512_loadu_si512(p); }
VIVACE_INLINE VF LoadN(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(FirstN(n), p); }
VIVACE_INLINE void StoreU(VF v, float* p) { _mm512_storeu_ps(p, v); }
VIVACE_INLINE void StoreN(VF v, float* p, int64_t n) { _mm512_mask_storeu_ps(p, FirstN(n), v); }
VIVACE_INLINE void copy_words(const uint16_t* from, uint16_t* to, int64_t n) {
  _mm256_mask_storeu_epi16(to, FirstN(n), _mm256_maskz_loadu_epi16(FirstN(n), from));
}

VIVACE_INLINE VI load_u8(const uint8_t* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
VIVACE_INLINE VI load_i8(const int8_t* p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
VIVACE_INLINE VF load_bf16(const uint16_t* p) {
  return BitCast(ShiftLeft<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))));
}
VIVACE_INLINE __m256i round_bf16(VF v) {
  const VI u = BitCast(v), odd = And(shift_right_unsigned<16>(u), Set(1));
  // A NaN must stay one: rounding could carry its payload into infinity.
  const VI rounded = _mm512_mask_or_epi32(Add(Add(u, Set(0x7fff)), odd), IsNaN(v), u, Set(0x400000));
  return _mm512_cvtepi32_epi16(shift_right_unsigned<16>(rounded));
}
VIVACE_INLINE __m256i round_bf16_flushed(VF v) {
#if defined(__AVX512BF16__)
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v));
#else
  return round_bf16(v);
#endif
}
VIVACE_INLINE void store_bf16_flushed(VF v, uint16_t* p) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), round_bf16_flushed(v)); }
VIVACE_INLINE void store_bf16(VF v, uint16_t* p) {
#if defined(__AVX512BF16__)
  constexpr int kSubnormal = 0x20;
  if (__builtin_expect(_mm512_fpclass_ps_mask(v, kSubnormal) == 0, 1)) return store_bf16_flushed(v, p);
#endif
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), round_bf16(v));
}
VIVACE_INLINE VF load_f16(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
VIVACE_INLINE void store_f16(VF v, uint16_t* p) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
VIVACE_INLINE void store_bytes(VI v, uint8_t flip, int8_t* p) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_xor_si128(_mm512_cvtsepi32_epi8(v), _mm_set1_epi8(static_cast<char>(flip))));
}
template <class Values>
VIVACE_INLINE void store_int16(const Values& values, int16_t* p) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(NearestInt(values(0))));
}
VIVACE_INLINE VI pack_words(VI a, VI b) { return _mm512_packs_epi32(a, b); }
VIVACE_INLINE VI pair_int16(VI low, VI high) { return _mm512_mask_blend_epi16(0xaaaaaaaa, low, ShiftLeft<16>(high)); }

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
