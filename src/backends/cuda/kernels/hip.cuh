// What ptx.cuh is, for AMD's GPUs and hipcc, but for tensor cores and asynchronous copies: gemm.cuh and attention.cuh are not for them. A warp is 32
// neighbours of a wavefront, which may have 64.
#pragma once

#include <hip/hip_runtime.h>

#define UNROLL _Pragma("unroll")
#define __grid_constant__

namespace vivace::cuda {

__device__ inline char* shared_memory() {
  extern __shared__ float4 block_memory[];
  return reinterpret_cast<char*>(block_memory);
}
__device__ inline void expect_aligned(const void*, int) {}

template <class T>
__device__ inline T shuffle_xor(T x, int mask) {
  return __shfl_xor(x, mask, 32);
}
template <class T>
__device__ inline T shuffle(T x, int lane) {
  return __shfl(x, lane, 32);
}
// Lanes of a wavefront go together; what they wrote is seen.
__device__ inline void warp_barrier() {
  __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "wavefront");
  __builtin_amdgcn_wave_barrier();
}
__device__ inline int exchange_if(int* at, int expected, int value) { return atomicCAS(at, expected, value); }

__device__ inline unsigned bits_of(float x) { return __float_as_uint(x); }
__device__ inline float float_of(unsigned bits) { return __uint_as_float(bits); }
__device__ inline float fast_exp2(float x) { return exp2f(x); }
__device__ inline float fast_divide(float a, float b) { return __fdividef(a, b); }
__device__ inline int round_to_int(float x) { return __float2int_rn(x); }
__device__ inline float mul_rounded(float a, float b) { return __fmul_rn(a, b); }
__device__ inline float add_rounded(float a, float b) { return __fadd_rn(a, b); }

// As tensor/half.h: a NaN stays one, everything else is rounded to nearest even.
__device__ inline unsigned short bf16_bits(float x) {
  const unsigned u = bits_of(x);
  return static_cast<unsigned short>((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : (u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}
__device__ inline unsigned short f16_bits(float x) { return __builtin_bit_cast(unsigned short, static_cast<_Float16>(x)); }
__device__ inline float f16_value(unsigned short bits) { return static_cast<float>(__builtin_bit_cast(_Float16, bits)); }

}  // namespace vivace::cuda
