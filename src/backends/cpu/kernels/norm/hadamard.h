// Blocks of values turned by a Hadamard matrix (quantize.h), a vector at a time.
#pragma once

#include "backends/cpu/kernels/simd/simd.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

// [[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]]: the sum of all four less twice the one that has the minus.
VIVACE_INLINE void turn_four(VF& a, VF& b, VF& c, VF& d) {
  const VF sum = (a + b) + (c + d), minus_two = Set(-2.f), first = a, second = b;
  a = MulAdd(d, minus_two, sum);
  b = MulAdd(c, minus_two, sum);
  c = MulAdd(second, minus_two, sum);
  d = MulAdd(first, minus_two, sum);
}

// Sixteen neighbours: four by four of them, then the first of each four, the second, ...
VIVACE_INLINE void turn_sixteen(const float* from, float* to, VF scale) {
#if defined(__AVX512F__)
  const VF minus_two = Set(-2.f);
  VF x = LoadU(from) * scale;
  VF sum = x + _mm512_permute_ps(x, 0xb1);
  sum = sum + _mm512_permute_ps(sum, 0x4e);
  x = MulAdd(_mm512_permute_ps(x, 0x1b), minus_two, sum);
  sum = x + _mm512_shuffle_f32x4(x, x, 0xb1);
  sum = sum + _mm512_shuffle_f32x4(sum, sum, 0x4e);
  StoreU(MulAdd(_mm512_shuffle_f32x4(x, x, 0x1b), minus_two, sum), to);
#elif defined(__AVX2__)
  const VF minus_two = Set(-2.f);
  VF x[2];
  for (int i = 0; i < 2; ++i) {
    x[i] = LoadU(from + i * kLanes) * scale;
    VF sum = x[i] + _mm256_permute_ps(x[i], 0xb1);
    sum = sum + _mm256_permute_ps(sum, 0x4e);
    x[i] = MulAdd(_mm256_permute_ps(x[i], 0x1b), minus_two, sum);
  }
  const VF low = x[0] + _mm256_permute2f128_ps(x[0], x[0], 1), high = x[1] + _mm256_permute2f128_ps(x[1], x[1], 1), sum = low + high;
  StoreU(MulAdd(_mm256_permute2f128_ps(x[1], x[1], 1), minus_two, sum), to);
  StoreU(MulAdd(_mm256_permute2f128_ps(x[0], x[0], 1), minus_two, sum), to + kLanes);
#else
  VF x[4];
  for (int i = 0; i < 4; ++i) {
    x[i] = LoadU(from + i * kLanes) * scale;
    VF sum = x[i] + _mm_shuffle_ps(x[i], x[i], 0xb1);
    sum = sum + _mm_shuffle_ps(sum, sum, 0x4e);
    x[i] = MulAdd(_mm_shuffle_ps(x[i], x[i], 0x1b), Set(-2.f), sum);
  }
  turn_four(x[0], x[1], x[2], x[3]);
  for (int i = 0; i < 4; ++i) StoreU(x[i], to + i * kLanes);
#endif
}

inline void turn_block(const float* from, int64_t block, float scale, float* to) {
  const VF factor = Set(scale);
  for (int64_t i = 0; i < block; i += 16) turn_sixteen(from + i, to + i, factor);
  int64_t stride = 16;
  for (; stride * 4 <= block; stride *= 4)
    for (int64_t begin = 0; begin < block; begin += stride * 4)
      for (int64_t i = begin; i < begin + stride; i += kLanes) {
        VF x[4];
        for (int k = 0; k < 4; ++k) x[k] = LoadU(to + i + k * stride);
        turn_four(x[0], x[1], x[2], x[3]);
        for (int k = 0; k < 4; ++k) StoreU(x[k], to + i + k * stride);
      }
  if (stride == block) return;
  for (int64_t i = 0; i < stride; i += kLanes) {
    const VF a = LoadU(to + i), b = LoadU(to + i + stride);
    StoreU(a + b, to + i);
    StoreU(a - b, to + i + stride);
  }
}

void turn_blocks(const float* from, int64_t count, int64_t block, float* to) {
  const float scale = 1.f / __builtin_sqrtf(static_cast<float>(block));
  for (int64_t i = 0; i < count; i += block) turn_block(from + i, block, scale, to + i);
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
