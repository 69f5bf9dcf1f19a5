// The few vector operations attention needs, on the widest registers of the instruction set this file is compiled for.
// Only for level.cc (see kernels.h).
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "vivace/dtype.h"

namespace vivace::cpu {
namespace {

// 2^f on [0, 1), minimax in relative error: 7.5e-5 (below half an ulp of bfloat16) and 2e-9 (float32, exact at 0).
constexpr float kExp2Bf16[] = {0.9999252f, 0.69583356f, 0.22606716f, 0.07802452f};
constexpr float kExp2F32[] = {1.f, 0.69314706f, 0.24022931f, 0.055485282f, 0.0096754516f, 0.0012467847f, 0.00021612915f};

#if defined(__AVX512F__)

constexpr int kLanes = 16;
using Vec = __m512;

inline Vec zero() { return _mm512_setzero_ps(); }
inline Vec set1(float x) { return _mm512_set1_ps(x); }
inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline float reduce_add(Vec v) { return _mm512_reduce_add_ps(v); }
inline float reduce_max(Vec v) { return _mm512_reduce_max_ps(v); }
// Lanes below n keep v, the rest become `other`.
inline Vec first_lanes(Vec v, int64_t n, float other) {
  const auto mask = static_cast<__mmask16>(n >= 16 ? 0xffff : n <= 0 ? 0 : (1u << n) - 1);
  return _mm512_mask_mov_ps(_mm512_set1_ps(other), mask, v);
}
inline Vec from_bf16(const uint16_t* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}
inline Vec from_f16(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline void to_bf16(uint16_t* p, Vec v) {
#if defined(__AVX512BF16__)
  const auto h = (__m256i)_mm512_cvtneps_pbh(v);
#else
  const __m512i u = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  __m512i r = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  r = _mm512_mask_mov_epi32(r, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc0));
  const __m256i h = _mm512_cvtepi32_epi16(r);
#endif
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), h);
}
inline void to_f16(uint16_t* p, Vec v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
// vreduceps leaves t - floor(t), 0 for an infinity, and vscalefps floors its exponent: no clamp is needed for any t.
inline Vec exp2_split(Vec t, Vec* fraction) {
  *fraction = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  return t;
}
inline Vec exp2_scale(Vec p, Vec t) { return _mm512_scalef_ps(p, t); }
// 2^t within 1.2e-4: a line in the fraction's last part, the line looked up by its first four bits. On Zen 4 the matrix instruction leaves the
// units for permutations, additions and scaling idle, so that this costs one multiplication where a polynomial costs three.
inline Vec exp2_line(Vec t) {
  alignas(64) static const float base[16] = {0.99988270f, 1.04415131f, 1.09037983f, 1.13865507f, 1.18906760f, 1.24171209f, 1.29668748f, 1.35409665f,
                                             1.41404772f, 1.47665298f, 1.54202998f, 1.61030138f, 1.68159556f, 1.75604618f, 1.83379292f, 1.91498196f};
  alignas(64) static const float slope[16] = {0.70829743f, 0.73965645f, 0.77240384f, 0.80660105f, 0.84231234f, 0.87960470f, 0.91854811f, 0.95921570f,
                                              1.00168383f, 1.04603219f, 1.09234393f, 1.14070618f, 1.19120955f, 1.24394894f, 1.29902315f, 1.35653591f};
  // Adding 1.5 * 2^19 leaves floor(16 t) in the lowest bits, of which the permutation reads four.
  const __m512i index = _mm512_castps_si512(_mm512_add_round_ps(t, _mm512_set1_ps(0x1.8p19f), _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC));
  const Vec rest = _mm512_reduce_ps(t, (4 << 4) | _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  const Vec p = _mm512_fmadd_ps(rest, _mm512_permutexvar_ps(index, _mm512_load_ps(slope)), _mm512_permutexvar_ps(index, _mm512_load_ps(base)));
  return _mm512_scalef_ps(p, t);
}

// Transposes kLanes rows of kLanes units, those from `rows` on taken as zero. Source rows lie ls bytes apart, the result's ld units.
template <class Unit>
inline void transpose(const void* s, int64_t ls, int64_t rows, Unit* d, int64_t ld) {
  __m512i r[16], t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = i < rows ? _mm512_loadu_si512(static_cast<const char*>(s) + i * ls) : _mm512_setzero_si512();
#pragma GCC unroll 16
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    _mm512_storeu_si512(d + i * ld, _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88));
    _mm512_storeu_si512(d + (8 + i) * ld, _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd));
    _mm512_storeu_si512(d + (4 + i) * ld, _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88));
    _mm512_storeu_si512(d + (12 + i) * ld, _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd));
  }
}

#elif defined(__AVX2__)

constexpr int kLanes = 8;
using Vec = __m256;

inline Vec zero() { return _mm256_setzero_ps(); }
inline Vec set1(float x) { return _mm256_set1_ps(x); }
inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline float reduce_add(Vec v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float reduce_max(Vec v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
inline Vec first_lanes(Vec v, int64_t n, float other) {
  const int count = static_cast<int>(n > 8 ? 8 : n < 0 ? 0 : n);
  const __m256i keep = _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  return _mm256_blendv_ps(_mm256_set1_ps(other), v, _mm256_castsi256_ps(keep));
}
inline Vec from_bf16(const uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}
inline Vec from_f16(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline void to_bf16(uint16_t* p, Vec v) {
  const __m256i u = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  __m256i r = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  r = _mm256_blendv_epi8(r, _mm256_set1_epi32(0x7fc0), _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
  const __m256i h = _mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(h));
}
inline void to_f16(uint16_t* p, Vec v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
// The exponent is built as an integer, so t is held to [-200, 127.999]; a NaN stays one (min and max return their second operand then).
inline Vec exp2_split(Vec t, Vec* fraction) {
  t = _mm256_min_ps(_mm256_set1_ps(127.999f), _mm256_max_ps(_mm256_set1_ps(-200.f), t));
  const Vec floor = _mm256_floor_ps(t);
  *fraction = _mm256_sub_ps(t, floor);
  return floor;
}
inline Vec exp2_scale(Vec p, Vec floor) {
  const __m256i n = _mm256_cvtps_epi32(floor);
  const Vec r = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(n, 23)));
  return _mm256_andnot_ps(_mm256_cmp_ps(floor, _mm256_set1_ps(-126.f), _CMP_LT_OQ), r);
}

template <class Unit>
inline void transpose(const void* s, int64_t ls, int64_t rows, Unit* d, int64_t ld) {
  for (int i = 0; i < 8; ++i) {
    Unit row[8] = {};
    if (i < rows) std::memcpy(row, static_cast<const char*>(s) + i * ls, sizeof(row));
    for (int j = 0; j < 8; ++j) d[j * ld + i] = row[j];
  }
}

#else  // SSE2, what every x86-64 has

constexpr int kLanes = 4;
using Vec = __m128;

inline Vec zero() { return _mm_setzero_ps(); }
inline Vec set1(float x) { return _mm_set1_ps(x); }
inline Vec load(const float* p) { return _mm_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm_storeu_ps(p, v); }
inline Vec add(Vec a, Vec b) { return _mm_add_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm_mul_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
inline Vec max(Vec a, Vec b) { return _mm_max_ps(a, b); }
inline float reduce_add(Vec v) {
  const __m128 s = _mm_add_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
inline float reduce_max(Vec v) {
  const __m128 s = _mm_max_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
inline Vec select(Vec mask, Vec a, Vec b) { return _mm_or_ps(_mm_and_ps(mask, a), _mm_andnot_ps(mask, b)); }
inline Vec first_lanes(Vec v, int64_t n, float other) {
  const int count = static_cast<int>(n > 4 ? 4 : n < 0 ? 0 : n);
  return select(_mm_castsi128_ps(_mm_cmpgt_epi32(_mm_set1_epi32(count), _mm_setr_epi32(0, 1, 2, 3))), v, _mm_set1_ps(other));
}
inline __m128i load_u16(const uint16_t* p) { return _mm_unpacklo_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)), _mm_setzero_si128()); }
// The low halves of four lanes.
inline void store_u16(uint16_t* p, __m128i v) {
  alignas(16) uint32_t lanes[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(lanes), v);
  for (int i = 0; i < 4; ++i) p[i] = static_cast<uint16_t>(lanes[i]);
}
inline Vec from_bf16(const uint16_t* p) { return _mm_castsi128_ps(_mm_slli_epi32(load_u16(p), 16)); }
inline Vec from_f16(const uint16_t* p) {
  const __m128i h = load_u16(p), magnitude = _mm_slli_epi32(_mm_and_si128(h, _mm_set1_epi32(0x7fff)), 13);
  // Rebias by multiplying, which also normalises subnormals; infinities and NaNs get the exponent of all ones.
  const __m128i scaled = _mm_castps_si128(_mm_mul_ps(_mm_castsi128_ps(magnitude), _mm_set1_ps(0x1p112f)));
  const __m128i special = _mm_and_si128(_mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x0f7fffff)), _mm_set1_epi32(0x7f800000));
  const __m128i sign = _mm_slli_epi32(_mm_and_si128(h, _mm_set1_epi32(0x8000)), 16);
  return _mm_castsi128_ps(_mm_or_si128(_mm_or_si128(scaled, special), sign));
}
inline void to_bf16(uint16_t* p, Vec v) {
  const __m128i u = _mm_castps_si128(v), odd = _mm_and_si128(_mm_srli_epi32(u, 16), _mm_set1_epi32(1));
  const __m128i r = _mm_srli_epi32(_mm_add_epi32(u, _mm_add_epi32(odd, _mm_set1_epi32(0x7fff))), 16);
  const Vec nan = _mm_cmpunord_ps(v, v);
  store_u16(p, _mm_castps_si128(select(nan, _mm_castsi128_ps(_mm_set1_epi32(0x7fc0)), _mm_castsi128_ps(r))));
}
inline uint16_t to_f16_scalar(uint32_t u) {
  const uint32_t magnitude = u & 0x7fffffffu, sign = (u >> 16) & 0x8000;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00);
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00);
  if (magnitude < 0x38800000u) {  // subnormal: the float adder rounds to a multiple of 2^-24
    float f;
    std::memcpy(&f, &magnitude, 4);
    f += 0.5f;
    uint32_t bits;
    std::memcpy(&bits, &f, 4);
    return static_cast<uint16_t>(sign | (bits - 0x3f000000u));
  }
  return static_cast<uint16_t>(sign | ((magnitude + 0xfffu + ((magnitude >> 13) & 1) - 0x38000000u) >> 13));
}
inline void to_f16(uint16_t* p, Vec v) {
  alignas(16) uint32_t lanes[4];
  _mm_store_ps(reinterpret_cast<float*>(lanes), v);
  for (int i = 0; i < 4; ++i) p[i] = to_f16_scalar(lanes[i]);
}
inline Vec exp2_split(Vec t, Vec* fraction) {
  t = _mm_min_ps(_mm_set1_ps(127.999f), _mm_max_ps(_mm_set1_ps(-200.f), t));
  const Vec nearest = _mm_cvtepi32_ps(_mm_cvtps_epi32(t));
  const Vec floor = _mm_sub_ps(nearest, _mm_and_ps(_mm_cmpgt_ps(nearest, t), _mm_set1_ps(1.f)));
  *fraction = _mm_sub_ps(t, floor);
  return _mm_or_ps(floor, _mm_cmpunord_ps(t, t));  // the conversion made a number of a NaN
}
inline Vec exp2_scale(Vec p, Vec floor) {
  const __m128i n = _mm_cvtps_epi32(floor);
  const Vec r = _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(p), _mm_slli_epi32(n, 23)));
  return _mm_andnot_ps(_mm_cmplt_ps(floor, _mm_set1_ps(-126.f)), r);
}

template <class Unit>
inline void transpose(const void* s, int64_t ls, int64_t rows, Unit* d, int64_t ld) {
  for (int i = 0; i < 4; ++i) {
    Unit row[4] = {};
    if (i < rows) std::memcpy(row, static_cast<const char*>(s) + i * ls, sizeof(row));
    for (int j = 0; j < 4; ++j) d[j * ld + i] = row[j];
  }
}

#endif

// 2^t. `Precise`: within 2 ulp of float32; otherwise within 1e-4, for weights that are rounded to bfloat16 anyway.
// -inf gives 0; results below 2^-126 may be flushed to 0.
template <bool Precise>
inline Vec exp2(Vec t) {
  Vec f;
  const Vec n = exp2_split(t, &f);
  if constexpr (Precise) {
    Vec p = set1(kExp2F32[6]);
#pragma GCC unroll 8
    for (int i = 5; i >= 0; --i) p = fma(p, f, set1(kExp2F32[i]));
    return exp2_scale(p, n);
  } else {
    Vec p = set1(kExp2Bf16[3]);
#pragma GCC unroll 8
    for (int i = 2; i >= 0; --i) p = fma(p, f, set1(kExp2Bf16[i]));
    return exp2_scale(p, n);
  }
}

// The same where products of matrices run at the same time.
template <bool Precise>
inline Vec exp2_between_products(Vec t) {
#if defined(__AVX512F__)
  if constexpr (!Precise) return exp2_line(t);
#endif
  return exp2<Precise>(t);
}

inline Vec load_as_float(DType dtype, const void* p) {
  if (dtype == DType::float32) return load(static_cast<const float*>(p));
  return dtype == DType::bfloat16 ? from_bf16(static_cast<const uint16_t*>(p)) : from_f16(static_cast<const uint16_t*>(p));
}
inline void store_from_float(DType dtype, void* p, Vec v) {
  if (dtype == DType::float32) return store(static_cast<float*>(p), v);
  return dtype == DType::bfloat16 ? to_bf16(static_cast<uint16_t*>(p), v) : to_f16(static_cast<uint16_t*>(p), v);
}
inline size_t element_size(DType dtype) { return dtype == DType::float32 ? 4 : 2; }

}  // namespace
}  // namespace vivace::cpu
