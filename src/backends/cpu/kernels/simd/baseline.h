// The vectors of simd.h on SSE2, which every x86-64 has. What is not Highway's, or promises more, is said here for all levels.
#pragma once

namespace vivace::cpu::VIVACE_SIMD {
namespace {

using VF = __m128;    // has + - * /, through GCC's vector operators
using VI = __m128i;   // 32-bit integer lanes
using Mask = __m128;  // AVX-512 has a register of its own for it
inline constexpr int kLanes = 4;

VIVACE_INLINE VF Set(float f) { return _mm_set1_ps(f); }
VIVACE_INLINE VI Set(int32_t i) { return _mm_set1_epi32(i); }
VIVACE_INLINE VF Zero() { return _mm_setzero_ps(); }
VIVACE_INLINE VI BitCast(VF a) { return _mm_castps_si128(a); }
VIVACE_INLINE VF BitCast(VI a) { return _mm_castsi128_ps(a); }

VIVACE_INLINE VI Add(VI a, VI b) { return _mm_add_epi32(a, b); }
VIVACE_INLINE VI Sub(VI a, VI b) { return _mm_sub_epi32(a, b); }
VIVACE_INLINE VI And(VI a, VI b) { return _mm_and_si128(a, b); }
VIVACE_INLINE VI Or(VI a, VI b) { return _mm_or_si128(a, b); }
VIVACE_INLINE VI Xor(VI a, VI b) { return _mm_xor_si128(a, b); }
template <int k>
VIVACE_INLINE VI ShiftLeft(VI a) {
  return _mm_slli_epi32(a, k);
}
template <int k>
VIVACE_INLINE VI ShiftRight(VI a) {
  return _mm_srai_epi32(a, k);
}
// Zeros come in, whatever the sign.
template <int k>
VIVACE_INLINE VI shift_right_unsigned(VI a) {
  return _mm_srli_epi32(a, k);
}

// a * b + c; rounded once where the instruction set can.
VIVACE_INLINE VF MulAdd(VF a, VF b, VF c) { return a * b + c; }
// When either is NaN the result is b.
VIVACE_INLINE VF Min(VF a, VF b) { return _mm_min_ps(a, b); }
VIVACE_INLINE VF Max(VF a, VF b) { return _mm_max_ps(a, b); }
VIVACE_INLINE VF Abs(VF a) { return BitCast(And(BitCast(a), Set(0x7fffffff))); }
VIVACE_INLINE VF Sqrt(VF a) { return _mm_sqrt_ps(a); }
VIVACE_INLINE VI NearestInt(VF a) { return _mm_cvtps_epi32(a); }
VIVACE_INLINE VF ConvertTo(VI a) { return _mm_cvtepi32_ps(a); }
// a * 2^n for whole n, |n| <= 160 and a near 1. Two factors, since 2^n itself may be out of range where the product is not (subnormal results,
// and those above 2^127).
VIVACE_INLINE VF MulByFloorPow2(VF a, VF n) {
  const VI whole = NearestInt(n), half = ShiftRight<1>(whole), bias = Set(127);
  return a * BitCast(ShiftLeft<23>(Add(half, bias))) * BitCast(ShiftLeft<23>(Add(Sub(whole, half), bias)));
}
VIVACE_INLINE VF DupEven(VF a) { return _mm_shuffle_ps(a, a, 0xa0); }
VIVACE_INLINE VF DupOdd(VF a) { return _mm_shuffle_ps(a, a, 0xf5); }
VIVACE_INLINE VF Reverse2(VF a) { return _mm_shuffle_ps(a, a, 0xb1); }
// a * b - c in even lanes, a * b + c in odd ones.
VIVACE_INLINE VF MulAddSub(VF a, VF b, VF c) { return a * b + _mm_xor_ps(c, _mm_setr_ps(-0.f, 0.f, -0.f, 0.f)); }
// The maximum passes over no NaN.
VIVACE_INLINE float ReduceSum(VF v) {
  const VF pairs = v + _mm_movehl_ps(v, v);
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}
VIVACE_INLINE float ReduceMax(VF v) {
  const VF pairs = _mm_max_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_max_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}
// p[i] += v[i] for every lane.
VIVACE_INLINE void add_to_doubles(VF v, double* p) {
  _mm_storeu_pd(p, _mm_add_pd(_mm_loadu_pd(p), _mm_cvtps_pd(v)));
  _mm_storeu_pd(p + 2, _mm_add_pd(_mm_loadu_pd(p + 2), _mm_cvtps_pd(_mm_movehl_ps(v, v))));
}

// False for a NaN.
VIVACE_INLINE Mask Lt(VF a, VF b) { return _mm_cmplt_ps(a, b); }
VIVACE_INLINE Mask IsNaN(VF a) { return _mm_cmpunord_ps(a, a); }
VIVACE_INLINE Mask Lt(VI a, VI b) { return BitCast(_mm_cmplt_epi32(a, b)); }
VIVACE_INLINE Mask Eq(VI a, VI b) { return BitCast(_mm_cmpeq_epi32(a, b)); }
VIVACE_INLINE Mask TestBit(VI a, VI bit) { return BitCast(Xor(_mm_cmpeq_epi32(And(a, bit), _mm_setzero_si128()), Set(-1))); }
// 0 <= n <= kLanes.
VIVACE_INLINE Mask FirstN(int64_t n) { return Lt(_mm_setr_epi32(0, 1, 2, 3), Set(static_cast<int32_t>(n))); }
VIVACE_INLINE bool AllFalse(Mask m) { return _mm_movemask_ps(m) == 0; }
VIVACE_INLINE VF IfThenElse(Mask m, VF a, VF b) { return _mm_or_ps(_mm_and_ps(m, a), _mm_andnot_ps(m, b)); }
VIVACE_INLINE VI IfThenElse(Mask m, VI a, VI b) { return BitCast(IfThenElse(m, BitCast(a), BitCast(b))); }
VIVACE_INLINE VF IfThenElseZero(Mask m, VF a) { return _mm_and_ps(m, a); }
VIVACE_INLINE VF IfThenZeroElse(Mask m, VF a) { return _mm_andnot_ps(m, a); }

// Halves to even. From 2^23 on a float has no fraction, and the integer conversion would overflow.
VIVACE_INLINE VF Round(VF a) { return IfThenElse(Lt(Abs(a), Set(8388608.f)), ConvertTo(NearestInt(a)), a); }
VIVACE_INLINE VI Max(VI a, VI b) { return IfThenElse(Lt(b, a), a, b); }
VIVACE_INLINE int32_t ReduceMax(VI a) {
  alignas(16) int32_t lanes[kLanes];
  _mm_store_si128(reinterpret_cast<__m128i*>(lanes), a);
  int32_t best = lanes[0];
  for (int32_t lane : lanes) best = lane > best ? lane : best;
  return best;
}

VIVACE_INLINE VF LoadU(const float* p) { return _mm_loadu_ps(p); }
VIVACE_INLINE void StoreU(VF v, float* p) { _mm_storeu_ps(p, v); }
// n < kLanes; nothing beyond them is touched.
VIVACE_INLINE VF LoadN(const float* p, int64_t n) {
  alignas(16) float lanes[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return _mm_load_ps(lanes);
}
VIVACE_INLINE void StoreN(VF v, float* p, int64_t n) {
  alignas(16) float lanes[kLanes];
  _mm_store_ps(lanes, v);
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}
VIVACE_INLINE void copy_words(const uint16_t* from, uint16_t* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = from[i];
}

// Of the narrow types: what Highway calls PromoteTo and DemoteTo, with the load or the store. A NaN stays one.
VIVACE_INLINE VF load_bf16(const uint16_t* p) {
  return BitCast(_mm_unpacklo_epi16(_mm_setzero_si128(), _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
// The low half of each lane.
VIVACE_INLINE void store_words(VI v, uint16_t* p) {
  const VI extended = ShiftRight<16>(ShiftLeft<16>(v));  // so that the saturating pack changes nothing
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi32(extended, extended));
}
// The same bits at every level. `flushed`: as the level's own instruction rounds, which takes subnormals for zero.
VIVACE_INLINE void store_bf16(VF v, uint16_t* p) {
  const VI u = BitCast(v);
  const VI rounded = Add(Add(u, Set(0x7fff)), And(shift_right_unsigned<16>(u), Set(1)));
  store_words(shift_right_unsigned<16>(IfThenElse(IsNaN(v), Or(u, Set(0x400000)), rounded)), p);
}
VIVACE_INLINE void store_bf16_flushed(VF v, uint16_t* p) { store_bf16(v, p); }
// The same steps as f16::to_float and f16::from_float of tensor/half.h.
VIVACE_INLINE VF load_f16(const uint16_t* p) {
  const VI h = _mm_unpacklo_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)), _mm_setzero_si128());
  const VI sign = ShiftLeft<16>(And(h, Set(0x8000))), magnitude = ShiftLeft<13>(And(h, Set(0x7fff)));
  const VF tiny = ConvertTo(And(h, Set(0x3ff))) * Set(0x1p-24f);
  const VI exponent = Set(0x7c00);
  const VI biased = Add(magnitude, IfThenElse(Eq(And(h, exponent), exponent), Set(224 << 23), Set(112 << 23)));
  return BitCast(Or(sign, IfThenElse(TestBit(h, exponent), biased, BitCast(tiny))));
}
VIVACE_INLINE void store_f16(VF v, uint16_t* p) {
  const VI u = BitCast(v), magnitude = And(u, Set(0x7fffffff));
  const VI sign = And(shift_right_unsigned<16>(u), Set(0x8000));
  const VI odd = And(shift_right_unsigned<13>(magnitude), Set(1));
  const VI normal = shift_right_unsigned<13>(Sub(Add(Add(magnitude, Set(0xfff)), odd), Set(0x38000000)));
  const VI tiny = Sub(BitCast(BitCast(magnitude) + Set(0.5f)), Set(0x3f000000));
  VI h = IfThenElse(Lt(magnitude, Set(0x38800000)), tiny, normal);
  h = IfThenElse(Lt(Set(0x477fefff), magnitude), Set(0x7c00), h);
  const VI payload = Or(And(shift_right_unsigned<13>(magnitude), Set(0x3ff)), Set(0x7e00));
  store_words(Or(sign, IfThenElse(IsNaN(v), payload, h)), p);
}
// Each lane saturated to a signed byte, then the bits of flip inverted.
VIVACE_INLINE void store_bytes(VI v, uint8_t flip, int8_t* p) {
  const VI words = _mm_packs_epi32(v, v), bytes = _mm_packs_epi16(words, words);
  const int32_t four = _mm_cvtsi128_si32(_mm_xor_si128(bytes, _mm_set1_epi8(static_cast<char>(flip))));
  memcpy(p, &four, 4);
}
// From AVX2 on also, since no kernel of this level has a use for them:
//   load_u8(p), load_i8(p)  bytes to integers
//   store_int16(values, p)  16 values of what fits, to nearest even; values(i) gives the vector from value i on
//   pack_words(a, b)        both as int16, 128 bits of either in turn
//   pair_int16(low, high)   in each lane the low half of either

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
