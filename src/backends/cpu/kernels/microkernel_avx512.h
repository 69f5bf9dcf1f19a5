// Register tiles for AVX-512: rows x 32 results from 4-byte units along K, so that float32, bfloat16 pairs, int16 pairs and int8 quadruples share
// their packing and address code and differ in one instruction. Internal linkage: include it only in files compiled for the level.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace vivace::cpu {
namespace {

// What one 4-byte unit holds, and how two of them are multiplied and added.
enum class Dot { f32, bf16, i16, u8s8 };

// 14 x 2 accumulators, two registers for the panel and one for the broadcast: 31 of 32. Without VNNI 16 bits take one more, which is all of them, and
// 8 bits two more.
constexpr int kTileRows = 14, kTileVectors = 2;
// Whether u8 x s8 products are added in pairs to int16, which saturates.
#ifdef __AVX512VNNI__
constexpr bool kPairsInInt16 = false;
#else
constexpr bool kPairsInInt16 = true;
#endif
constexpr int tile_rows(Dot dot) { return dot == Dot::u8s8 && kPairsInInt16 ? kTileRows - 1 : kTileRows; }

// sum + the products of a's and b's pairs of int16, in int32, which wraps.
[[gnu::always_inline]] inline __m512i add_pairs(__m512i sum, __m512i a, __m512i b) {
  // Written out: of the intrinsics GCC 12 makes copies of the sums in memory.
#ifdef __AVX512VNNI__
  asm("vpdpwssd %[b], %[a], %[sum]" : [sum] "+v"(sum) : [a] "v"(a), [b] "v"(b));
#else
  __m512i product;
  asm("vpmaddwd %[b], %[a], %[product]\n\tvpaddd %[product], %[sum], %[sum]" : [sum] "+v"(sum), [product] "=&v"(product) : [a] "v"(a), [b] "v"(b));
#endif
  return sum;
}

template <Dot kDot>
[[gnu::always_inline]] inline __m512 dot(__m512 sum, __m512i a, __m512i b) {
  if constexpr (kDot == Dot::f32) return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
#ifdef __AVX512BF16__
  if constexpr (kDot == Dot::bf16) return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
#endif
#ifdef __AVX512VNNI__
  if constexpr (kDot == Dot::u8s8) return _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_castps_si512(sum), a, b));
#else
  if constexpr (kDot == Dot::u8s8) {
    const __m512i quadruples = _mm512_madd_epi16(_mm512_maddubs_epi16(a, b), _mm512_set1_epi16(1));
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(sum), quadruples));
  }
#endif
  if constexpr (kDot == Dot::i16) return _mm512_castsi512_ps(add_pairs(_mm512_castps_si512(sum), a, b));
}

// c[kRows][kVectors * 16] (rows c_stride floats apart) = (accumulate ? c : 0) + a x b.
//   a: kRows rows of `units` units, a_stride bytes apart, no alignment;  b: [units][kVectors * 16] units.
// The sums of Dot::i16 and Dot::u8s8 are int32 in the same places. Reads 1 KiB ahead of b by prefetch only.
template <Dot kDot, int kRows, int kVectors>
[[gnu::noinline]] void register_tile(const void* a, int64_t a_stride, int64_t units, const void* b, float* c, int64_t c_stride, bool accumulate) {
  static_assert(kRows <= 15);
  constexpr int kPrefetchRows = 8;
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sum[i][j] = accumulate ? _mm512_loadu_ps(c + i * c_stride + j * 16) : _mm512_setzero_ps();

  // One pointer for every third row, which the addressing mode extends by one and two strides: five pointers instead of fourteen.
  const int64_t stride1 = a_stride, stride2 = 2 * a_stride;
  auto clamp = [&](int row) { return static_cast<const char*>(a) + (row < kRows ? row : 0) * a_stride; };
  const char *p0 = clamp(0), *p3 = clamp(3), *p6 = clamp(6), *p9 = clamp(9), *p12 = clamp(12);
  const char* panel = static_cast<const char*>(b);
  for (int64_t k = 0; k < units; ++k) {
    __m512i v[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      v[j] = _mm512_loadu_si512(panel + j * 64);
      _mm_prefetch(panel + (j + kPrefetchRows * kVectors) * 64, _MM_HINT_T0);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const char* third = i < 3 ? p0 : i < 6 ? p3 : i < 9 ? p6 : i < 12 ? p9 : p12;
      const char* row = i % 3 == 0 ? third : i % 3 == 1 ? third + stride1 : third + stride2;
      int unit;
      std::memcpy(&unit, row, 4);
      __m512i x = _mm512_set1_epi32(unit);
      // Keep the broadcast in a register: as a memory operand it would be loaded once for every vector of the panel.
      if constexpr (kVectors > 1) asm("" : "+v"(x));
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sum[i][j] = dot<kDot>(sum[i][j], x, v[j]);
    }
    panel += kVectors * 64, p0 += 4, p3 += 4, p6 += 4, p9 += 4, p12 += 4;
    // The compiler would otherwise derive the pointers from each other again, with an addition for every row.
    asm volatile("" : "+r"(p0), "+r"(p3), "+r"(p6), "+r"(p9), "+r"(p12), "+r"(panel));
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) _mm512_storeu_ps(c + i * c_stride + j * 16, sum[i][j]);
}

}  // namespace
}  // namespace vivace::cpu
