// The vectors of simd.h on AVX2, FMA and F16C. baseline.h says what is not Highway's.
#pragma once

namespace vivace::cpu::VIVACE_SIMD {
namespace {

using VF = __m256;
using VI = __m256i;
using Mask = __m256;
inline constexpr int kLanes = 8;

VIVACE_INLINE VF Set(float f) { return _mm256_set1_ps(f); }
VIVACE_INLINE VI Set(int32_t i) { return _mm256_set1_epi32(i); }
VIVACE_INLINE VF Zero() { return _mm256_setzero_ps(); }
VIVACE_INLINE VI BitCast(VF a) { return _mm256_castps_si256(a); }
VIVACE_INLINE VF BitCast(VI a) { return _mm256_castsi256_ps(a); }

VIVACE_INLINE VI Add(VI a, VI b) { return _mm256_add_epi32(a, b); }
VIVACE_INLINE VI Sub(VI a, VI b) { return _mm256_sub_epi32(a, b); }
VIVACE_INLINE VI And(VI a, VI b) { return _mm256_and_si256(a, b); }
VIVACE_INLINE VI Or(VI a, VI b) { return _mm256_or_si256(a, b); }
VIVACE_INLINE VI Xor(VI a, VI b) { return _mm256_xor_si256(a, b); }
VIVACE_INLINE VI Max(VI a, VI b) { return _mm256_max_epi32(a, b); }
VIVACE_INLINE int32_t ReduceMax(VI a) {
  alignas(32) int32_t lanes[kLanes];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), a);
  int32_t best = lanes[0];
  for (int32_t lane : lanes) best = lane > best ? lane : best;
  return best;
}
template <int k>
VIVACE_INLINE VI ShiftLeft(VI a) {
  return _mm256_slli_epi32(a, k);
}
template <int k>
VIVACE_INLINE VI ShiftRight(VI a) {
  return _mm256_srai_epi32(a, k);
}
template <int k>
VIVACE_INLINE VI shift_right_unsigned(VI a) {
  return _mm256_srli_epi32(a, k);
}

VIVACE_INLINE VF MulAdd(VF a, VF b, VF c) { return _mm256_fmadd_ps(a, b, c); }
VIVACE_INLINE VF Min(VF a, VF b) { return _mm256_min_ps(a, b); }
VIVACE_INLINE VF Max(VF a, VF b) { return _mm256_max_ps(a, b); }
VIVACE_INLINE VF Abs(VF a) { return BitCast(And(BitCast(a), Set(0x7fffffff))); }
VIVACE_INLINE VF Sqrt(VF a) { return _mm256_sqrt_ps(a); }
VIVACE_INLINE VF Round(VF a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VIVACE_INLINE VI NearestInt(VF a) { return _mm256_cvtps_epi32(a); }
VIVACE_INLINE VF ConvertTo(VI a) { return _mm256_cvtepi32_ps(a); }
VIVACE_INLINE VF MulByFloorPow2(VF a, VF n) {
  const VI whole = NearestInt(n), half = ShiftRight<1>(whole), bias = Set(127);
  return a * BitCast(ShiftLeft<23>(Add(half, bias))) * BitCast(ShiftLeft<23>(Add(Sub(whole, half), bias)));
}
VIVACE_INLINE VF DupEven(VF a) { return _mm256_moveldup_ps(a); }
VIVACE_INLINE VF DupOdd(VF a) { return _mm256_movehdup_ps(a); }
VIVACE_INLINE VF Reverse2(VF a) { return _mm256_permute_ps(a, 0xb1); }
VIVACE_INLINE VF MulAddSub(VF a, VF b, VF c) { return _mm256_fmaddsub_ps(a, b, c); }
VIVACE_INLINE float ReduceSum(VF v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
VIVACE_INLINE float ReduceMax(VF v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
VIVACE_INLINE void add_to_doubles(VF v, double* p) {
  _mm256_storeu_pd(p, _mm256_add_pd(_mm256_loadu_pd(p), _mm256_cvtps_pd(_mm256_castps256_ps128(v))));
  _mm256_storeu_pd(p + 4, _mm256_add_pd(_mm256_loadu_pd(p + 4), _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1))));
}

VIVACE_INLINE Mask Lt(VF a, VF b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
VIVACE_INLINE Mask IsNaN(VF a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
VIVACE_INLINE Mask Lt(VI a, VI b) { return BitCast(_mm256_cmpgt_epi32(b, a)); }
VIVACE_INLINE Mask Eq(VI a, VI b) { return BitCast(_mm256_cmpeq_epi32(a, b)); }
VIVACE_INLINE Mask TestBit(VI a, VI bit) { return BitCast(Xor(_mm256_cmpeq_epi32(And(a, bit), _mm256_setzero_si256()), Set(-1))); }
VIVACE_INLINE Mask FirstN(int64_t n) { return Lt(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), Set(static_cast<int32_t>(n))); }
VIVACE_INLINE bool AllFalse(Mask m) { return _mm256_movemask_ps(m) == 0; }
VIVACE_INLINE VF IfThenElse(Mask m, VF a, VF b) { return _mm256_blendv_ps(b, a, m); }
VIVACE_INLINE VI IfThenElse(Mask m, VI a, VI b) { return BitCast(IfThenElse(m, BitCast(a), BitCast(b))); }
VIVACE_INLINE VF IfThenElseZero(Mask m, VF a) { return _mm256_and_ps(m, a); }
VIVACE_INLINE VF IfThenZeroElse(Mask m, VF a) { return _mm256_andnot_ps(m, a); }

VIVACE_INLINE VF LoadU(const float* p) { return _mm256_loadu_ps(p); }
VIVACE_INLINE VI LoadU(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
VIVACE_INLINE VF LoadN(const float* p, int64_t n) { return _mm256_maskload_ps(p, BitCast(FirstN(n))); }
VIVACE_INLINE void StoreU(VF v, float* p) { _mm256_storeu_ps(p, v); }
VIVACE_INLINE void StoreN(VF v, float* p, int64_t n) { _mm256_maskstore_ps(p, BitCast(FirstN(n)), v); }
VIVACE_INLINE void copy_words(const uint16_t* from, uint16_t* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = from[i];
}

VIVACE_INLINE VI load_u8(const uint8_t* p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
VIVACE_INLINE VI load_i8(const int8_t* p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
VIVACE_INLINE VF load_bf16(const uint16_t* p) {
  return BitCast(ShiftLeft<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))));
}
VIVACE_INLINE void store_bf16(VF v, uint16_t* p) {
  const VI u = BitCast(v);
  const VI rounded = Add(Add(u, Set(0x7fff)), And(shift_right_unsigned<16>(u), Set(1)));
  const VI kept = shift_right_unsigned<16>(IfThenElse(IsNaN(v), Or(u, Set(0x400000)), rounded));
  const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(kept), _mm256_extracti128_si256(kept, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
}
VIVACE_INLINE void store_bf16_flushed(VF v, uint16_t* p) { store_bf16(v, p); }
VIVACE_INLINE VF load_f16(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
VIVACE_INLINE void store_f16(VF v, uint16_t* p) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
VIVACE_INLINE void store_bytes(VI v, uint8_t flip, int8_t* p) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const __m128i bytes = _mm_packs_epi16(words, words);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_xor_si128(bytes, _mm_set1_epi8(static_cast<char>(flip))));
}
template <class Values>
VIVACE_INLINE void store_int16(const Values& values, int16_t* p) {
  const __m256i halves = _mm256_packs_epi32(NearestInt(values(0)), NearestInt(values(kLanes)));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(halves, 0xd8));
}
VIVACE_INLINE VI pack_words(VI a, VI b) { return _mm256_packs_epi32(a, b); }
VIVACE_INLINE VI pair_int16(VI low, VI high) { return _mm256_blend_epi16(low, ShiftLeft<16>(high), 0xaa); }

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
