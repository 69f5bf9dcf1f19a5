// Products on tensor cores by the type of their elements.
#pragma once

#include "numbers.cuh"

namespace vivace::cuda {

// Two elements in a register.
__device__ inline unsigned pair_of(float low, float high, bf16) { return bf16_pair(low, high); }
__device__ inline unsigned pair_of(float low, float high, f16) { return f16_pair(low, high); }

// c += a b (ptx.cuh).
__device__ inline void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, bf16) { multiply_bf16(c, a, b0, b1); }
__device__ inline void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, f16) { multiply_f16(c, a, b0, b1); }
__device__ inline void multiply(int (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, signed char) { multiply_int8(c, a, b0, b1); }
__device__ inline void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, f8e4m3) { multiply_float8(c, a, b0, b1); }

}  // namespace vivace::cuda
