// The vector of simd.h on SSE2, which every x86-64 has.
#pragma once

namespace vivace::cpu::VIVACE_SIMD {
namespace {

using VF = __m128;    // also has + - * /, through GCC's vector operators
using VI = __m128i;   // 32-bit integer lanes
using Mask = __m128;  // of less() and the like; AVX-512 has a register of its own for it
inline constexpr int kLanes = 4;

VIVACE_INLINE VF splat(float f) { return _mm_set1_ps(f); }
VIVACE_INLINE VI splat_int(int32_t i) { return _mm_set1_epi32(i); }
// a * b + c; rounded once where the instruction set can.
VIVACE_INLINE VF fma(VF a, VF b, VF c) { return a * b + c; }
// When either is NaN the result is b.
VIVACE_INLINE VF min_or_b(VF a, VF b) { return _mm_min_ps(a, b); }
VIVACE_INLINE VF max_or_b(VF a, VF b) { return _mm_max_ps(a, b); }
VIVACE_INLINE VF square_root(VF a) { return _mm_sqrt_ps(a); }
VIVACE_INLINE VI to_int(VF a) { return _mm_cvtps_epi32(a); }
VIVACE_INLINE VF to_float(VI a) { return _mm_cvtepi32_ps(a); }
VIVACE_INLINE VI bits(VF a) { return _mm_castps_si128(a); }
VIVACE_INLINE VF from_bits(VI a) { return _mm_castsi128_ps(a); }

VIVACE_INLINE VI add_int(VI a, VI b) { return _mm_add_epi32(a, b); }
VIVACE_INLINE VI sub_int(VI a, VI b) { return _mm_sub_epi32(a, b); }
VIVACE_INLINE VI and_int(VI a, VI b) { return _mm_and_si128(a, b); }
VIVACE_INLINE VI or_int(VI a, VI b) { return _mm_or_si128(a, b); }
VIVACE_INLINE VI xor_int(VI a, VI b) { return _mm_xor_si128(a, b); }
template <int k>
VIVACE_INLINE VI shift_left(VI a) {
  return _mm_slli_epi32(a, k);
}
template <int k>
VIVACE_INLINE VI shift_right(VI a) {
  return _mm_srli_epi32(a, k);
}
template <int k>
VIVACE_INLINE VI shift_right_signed(VI a) {
  return _mm_srai_epi32(a, k);
}
// e * 2^n for whole n, |n| <= 160 and e near 1. Two factors, since 2^n itself may be out of range where the product is not (subnormal results,
// and those above 2^127).
VIVACE_INLINE VF times_power_of_two(VF e, VF n) {
  const VI whole = to_int(n), half = shift_right_signed<1>(whole), bias = splat_int(127);
  return e * from_bits(shift_left<23>(add_int(half, bias))) * from_bits(shift_left<23>(add_int(sub_int(whole, half), bias)));
}

// p[i] += v[i] for every lane.
VIVACE_INLINE void add_to_doubles(VF v, double* p) {
  _mm_storeu_pd(p, _mm_add_pd(_mm_loadu_pd(p), _mm_cvtps_pd(v)));
  _mm_storeu_pd(p + 2, _mm_add_pd(_mm_loadu_pd(p + 2), _mm_cvtps_pd(_mm_movehl_ps(v, v))));
}

// Of all lanes; the maximum passes over no NaN.
VIVACE_INLINE float reduce_sum(VF v) {
  const VF pairs = v + _mm_movehl_ps(v, v);
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}
VIVACE_INLINE float reduce_max(VF v) {
  const VF pairs = _mm_max_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_max_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}

// False for a NaN.
VIVACE_INLINE Mask less(VF a, VF b) { return _mm_cmplt_ps(a, b); }
VIVACE_INLINE Mask is_nan(VF a) { return _mm_cmpunord_ps(a, a); }
// Lanes with any bit set.
VIVACE_INLINE Mask is_set(VI a) { return from_bits(xor_int(_mm_cmpeq_epi32(a, _mm_setzero_si128()), splat_int(-1))); }
VIVACE_INLINE VF select(Mask m, VF a, VF b) { return _mm_or_ps(_mm_and_ps(m, a), _mm_andnot_ps(m, b)); }
VIVACE_INLINE VI select_int(Mask m, VI a, VI b) { return bits(select(m, from_bits(a), from_bits(b))); }
VIVACE_INLINE bool any(Mask m) { return _mm_movemask_ps(m) != 0; }

// To the nearest integer, halves to even. From 2^23 on a float has no fraction, and the integer conversion would overflow.
VIVACE_INLINE VF round_even(VF a) {
  const VF magnitude = from_bits(and_int(bits(a), splat_int(0x7fffffff)));
  return select(less(magnitude, splat(8388608.f)), to_float(to_int(a)), a);
}

VIVACE_INLINE VI max_int(VI a, VI b) { return select_int(from_bits(_mm_cmpgt_epi32(a, b)), a, b); }
VIVACE_INLINE int32_t reduce_max_int(VI a) {
  alignas(16) int32_t lanes[kLanes];
  _mm_store_si128(reinterpret_cast<__m128i*>(lanes), a);
  int32_t best = lanes[0];
  for (int32_t lane : lanes) best = lane > best ? lane : best;
  return best;
}

// n lanes, the others zero; nothing beyond them is touched.
// Pairs of lanes (a0, a1) and (cos, sin) -> (a0 cos - a1 sin, a1 cos + a0 sin).
VIVACE_INLINE VF rotate_pairs(VF a, VF table) {
  const VF cos = _mm_shuffle_ps(table, table, 0xa0), sin = _mm_shuffle_ps(table, table, 0xf5), swapped = _mm_shuffle_ps(a, a, 0xb1);
  return a * cos + _mm_xor_ps(swapped * sin, _mm_setr_ps(-0.f, 0.f, -0.f, 0.f));
}

VIVACE_INLINE VF load_f32(const float* p) { return _mm_loadu_ps(p); }
VIVACE_INLINE VF load_f32(const float* p, int64_t n) {
  alignas(16) float lanes[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return _mm_load_ps(lanes);
}
VIVACE_INLINE void store_f32(VF v, float* p) { _mm_storeu_ps(p, v); }
VIVACE_INLINE void store_f32(VF v, float* p, int64_t n) {
  alignas(16) float lanes[kLanes];
  _mm_store_ps(lanes, v);
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}
// The first n lanes of v, the others zero.
VIVACE_INLINE VF keep_first(VF v, int64_t n) {
  alignas(16) float lanes[kLanes];
  _mm_store_ps(lanes, v);
  return load_f32(lanes, n);
}
// n < kLanes.
VIVACE_INLINE void copy_words(const uint16_t* from, uint16_t* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = from[i];
}

VIVACE_INLINE VF load_bf16(const uint16_t* p) {
  return from_bits(_mm_unpacklo_epi16(_mm_setzero_si128(), _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
// The low half of each lane.
VIVACE_INLINE void store_words(VI v, uint16_t* p) {
  const VI extended = shift_right_signed<16>(shift_left<16>(v));  // so that the saturating pack changes nothing
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi32(extended, extended));
}
VIVACE_INLINE void store_bf16(VF v, uint16_t* p) {
  const VI u = bits(v);
  const VI rounded = add_int(add_int(u, splat_int(0x7fff)), and_int(shift_right<16>(u), splat_int(1)));
  store_words(shift_right<16>(select_int(is_nan(v), or_int(u, splat_int(0x400000)), rounded)), p);
}
// The same steps as f16::to_float and f16::from_float of tensor/half.h.
VIVACE_INLINE VF load_f16(const uint16_t* p) {
  const VI h = _mm_unpacklo_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)), _mm_setzero_si128());
  const VI sign = shift_left<16>(and_int(h, splat_int(0x8000))), magnitude = shift_left<13>(and_int(h, splat_int(0x7fff)));
  const VF tiny = to_float(and_int(h, splat_int(0x3ff))) * splat(0x1p-24f);
  const VI exponent = and_int(h, splat_int(0x7c00));
  const Mask special = from_bits(_mm_cmpeq_epi32(exponent, splat_int(0x7c00)));
  const VI biased = add_int(magnitude, select_int(special, splat_int(224 << 23), splat_int(112 << 23)));
  return from_bits(or_int(sign, select_int(is_set(exponent), biased, bits(tiny))));
}
VIVACE_INLINE void store_f16(VF v, uint16_t* p) {
  const VI u = bits(v), magnitude = and_int(u, splat_int(0x7fffffff));
  const VI sign = and_int(shift_right<16>(u), splat_int(0x8000));
  const VI odd = and_int(shift_right<13>(magnitude), splat_int(1));
  const VI normal = shift_right<13>(sub_int(add_int(add_int(magnitude, splat_int(0xfff)), odd), splat_int(0x38000000)));
  const VI tiny = sub_int(bits(from_bits(magnitude) + splat(0.5f)), splat_int(0x3f000000));
  VI h = select_int(from_bits(_mm_cmplt_epi32(magnitude, splat_int(0x38800000))), tiny, normal);
  h = select_int(from_bits(_mm_cmpgt_epi32(magnitude, splat_int(0x477fefff))), splat_int(0x7c00), h);
  const VI payload = or_int(and_int(shift_right<13>(magnitude), splat_int(0x3ff)), splat_int(0x7e00));
  store_words(or_int(sign, select_int(is_nan(v), payload, h)), p);
}
// Each lane saturated to a signed byte, then the bits of flip inverted.
VIVACE_INLINE void store_bytes(VI v, uint8_t flip, int8_t* p) {
  const VI words = _mm_packs_epi32(v, v), bytes = _mm_packs_epi16(words, words);
  const int32_t four = _mm_cvtsi128_si32(_mm_xor_si128(bytes, _mm_set1_epi8(static_cast<char>(flip))));
  memcpy(p, &four, 4);
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
