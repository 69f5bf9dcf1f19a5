// Register tiles for AVX2 + FMA: rows x 16 results from 4-byte units along K; the counterpart of microkernel_avx512.h. Internal linkage: include
// it only in files compiled for the level.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace vivace::cpu {
namespace {

// AVX2 multiplies no bfloat16, which is decoded to float32.
enum class Dot { f32, bf16, i16, u8s8 };

// 6 x 2 accumulators, two registers for the panel, one for the broadcast and, without VNNI, one for the int16 product: all 16. With 8 bits ones take
// a register too then.
constexpr int kTileRows = 6, kTileVectors = 2;
// Whether u8 x s8 products are added in pairs to int16, which saturates.
#ifdef __AVXVNNI__
constexpr bool kPairsInInt16 = false;
#else
constexpr bool kPairsInInt16 = true;
#endif
constexpr int tile_rows(Dot dot) { return dot == Dot::u8s8 && kPairsInInt16 ? kTileRows - 1 : kTileRows; }

#ifdef __AVXVNNI__

// Written out: with the intrinsics GCC 12 keeps copies of the sums in memory.
[[gnu::always_inline]] inline __m256i add_pairs(__m256i sum, __m256i a, __m256i b) {
  asm("%{vex%} vpdpwssd %[b], %[a], %[sum]" : [sum] "+x"(sum) : [a] "x"(a), [b] "x"(b));
  return sum;
}
[[gnu::always_inline]] inline __m256i add_quadruples(__m256i sum, __m256i a, __m256i b) {
  asm("%{vex%} vpdpbusd %[b], %[a], %[sum]" : [sum] "+x"(sum) : [a] "x"(a), [b] "x"(b));
  return sum;
}

#else

// sum + the products of a's and b's pairs of int16, in int32. Written out, so that there is one product at a time: the compiler would form several
// first, for which a register tile has no registers, and move sums about.
[[gnu::always_inline]] inline __m256i add_pairs(__m256i sum, __m256i a, __m256i b) {
  __m256i product;
  asm("vpmaddwd %[b], %[a], %[product]\n\tvpaddd %[product], %[sum], %[sum]" : [sum] "+x"(sum), [product] "=&x"(product) : [a] "x"(a), [b] "x"(b));
  return sum;
}

// sum + the products of a's uint8 and b's int8, four to an int32.
[[gnu::always_inline]] inline __m256i add_quadruples(__m256i sum, __m256i a, __m256i b) {
  __m256i product;
  asm("vpmaddubsw %[b], %[a], %[product]\n\tvpmaddwd %[ones], %[product], %[product]\n\tvpaddd %[product], %[sum], %[sum]"
      : [sum] "+x"(sum), [product] "=&x"(product)
      : [a] "x"(a), [b] "x"(b), [ones] "x"(_mm256_set1_epi16(1)));
  return sum;
}

#endif

template <Dot kDot>
[[gnu::always_inline]] inline __m256 dot(__m256 sum, __m256i a, __m256i b) {
  static_assert(kDot != Dot::bf16);
  if constexpr (kDot == Dot::f32) return _mm256_fmadd_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), sum);
  if constexpr (kDot == Dot::u8s8) return _mm256_castsi256_ps(add_quadruples(_mm256_castps_si256(sum), a, b));
  return _mm256_castsi256_ps(add_pairs(_mm256_castps_si256(sum), a, b));
}

// As in microkernel_avx512.h, with panels of kVectors * 8 units. Beside the products it does as little as can be, because another thread of the same
// core may want the rest: two units a turn, and no prefetching, which the processor does as well for a panel that is read from end to end.
template <Dot kDot, int kRows, int kVectors>
[[gnu::noinline]] void register_tile(const void* a, int64_t a_stride, int64_t units, const void* b, float* c, int64_t c_stride, bool accumulate) {
  static_assert(kRows <= 6);
  __m256 sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sum[i][j] = accumulate ? _mm256_loadu_ps(c + i * c_stride + j * 8) : _mm256_setzero_ps();

  const int64_t stride1 = a_stride, stride2 = 2 * a_stride;
  const char *p0 = static_cast<const char*>(a), *p3 = p0 + (kRows > 3 ? 3 * a_stride : 0), *panel = static_cast<const char*>(b);
  auto multiply = [&](int unit) __attribute__((always_inline)) {
    __m256i v[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) v[j] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + (unit * kVectors + j) * 32));
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const char* third = i < 3 ? p0 : p3;
      const char* row = i % 3 == 0 ? third : i % 3 == 1 ? third + stride1 : third + stride2;
      int element;
      std::memcpy(&element, row + unit * 4, 4);
      __m256i x = _mm256_set1_epi32(element);
      if constexpr (kVectors > 1) asm("" : "+x"(x));
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sum[i][j] = dot<kDot>(sum[i][j], x, v[j]);
    }
  };
  for (const char* end = panel + units / 2 * (2 * kVectors * 32); panel != end;) {
    multiply(0);
    multiply(1);
    panel += 2 * kVectors * 32, p0 += 8, p3 += 8;
    asm volatile("" : "+r"(p0), "+r"(p3), "+r"(panel));
  }
  if (units % 2 != 0) multiply(0);
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) _mm256_storeu_ps(c + i * c_stride + j * 8, sum[i][j]);
}

}  // namespace
}  // namespace vivace::cpu
