// Number types of kernels, conversions, accesses of 16 bytes, sums over warps and blocks. Printed tile programs (codegen/cuda_source.h) include this
// too.
#pragma once

#if defined(__HIPCC__)
#include "hip.cuh"
#elif defined(__CUDACC__)
#include "ptx.cuh"
#else
#include "host_cuda.h"
#endif

namespace vivace::cuda {

struct bf16 {
  unsigned short bits;
};
struct f16 {
  unsigned short bits;
};
// float8 e4m3, as tensor/half.h has it.
struct f8e4m3 {
  unsigned char bits;
};

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(bf16 x) { return float_of(static_cast<unsigned>(x.bits) << 16); }
__device__ inline float to_float(f16 x) { return f16_value(x.bits); }
__device__ inline float to_float(f8e4m3 x) {
  const unsigned sign = static_cast<unsigned>(x.bits & 0x80) << 24, exponent = x.bits >> 3 & 15, mantissa = x.bits & 7;
  if ((x.bits & 0x7f) == 0x7f) return float_of(0x7fc00000u);
  if (exponent == 0) return (sign ? -1.f : 1.f) * static_cast<float>(mantissa) * 0.001953125f;
  return float_of(sign | (exponent + 120) << 23 | mantissa << 20);
}
__device__ inline float to_float(int x) { return static_cast<float>(x); }
__device__ inline void from_float(float x, float& y) { y = x; }
__device__ inline void from_float(float x, bf16& y) { y.bits = bf16_bits(x); }
__device__ inline void from_float(float x, f16& y) { y.bits = f16_bits(x); }
__device__ inline void from_float(float x, f8e4m3& y) {
  const unsigned magnitude = bits_of(x) & 0x7fffffffu, sign = bits_of(x) >> 24 & 0x80u;
  unsigned bits;
  if (magnitude > 0x7f800000u)
    bits = 0x7f;
  else if (magnitude >= 0x43e80000u)  // 464 and above round past 448
    bits = 0x7e;
  else if (magnitude < 0x3c800000u)  // below 2^-6: a multiple of 2^-9
    bits = bits_of(float_of(magnitude) + 16384.f) - 0x46800000u;
  else
    bits = (magnitude + 0x7ffffu + (magnitude >> 20 & 1) - 0x3c000000u) >> 20;
  y.bits = static_cast<unsigned char>(sign | bits);
}
__device__ inline void from_float(float x, int& y) { y = static_cast<int>(x); }

template <class T>
__device__ inline T rounded_to(float x) {
  T narrow;
  from_float(x, narrow);
  return narrow;
}
template <class T>
__device__ inline float rounded(float x) {
  return to_float(rounded_to<T>(x));
}

// 16 bytes: the widest access of a thread.
template <class T>
struct alignas(16) Wide {
  static constexpr int size = 16 / static_cast<int>(sizeof(T));
  T at[size];
};
template <class T>
__device__ inline bool is_wide(const T* p) {
  return reinterpret_cast<unsigned long long>(p) % 16 == 0;
}
template <class T>
__device__ inline Wide<T> wide_at(const T* p) {
  expect_aligned(p, 16);
  return *reinterpret_cast<const Wide<T>*>(p);
}
template <class T>
__device__ inline void put_wide(T* p, const Wide<T>& x) {
  expect_aligned(p, 16);
  *reinterpret_cast<Wide<T>*>(p) = x;
}

// Up to eight elements, zeros behind them.
template <class T>
__device__ inline void load(const T* p, int n, float (&x)[8]) {
  if (n == 8 && is_wide(p)) {
    UNROLL
    for (int i = 0; i < 8; i += Wide<T>::size) {
      const Wide<T> w = wide_at(p + i);
      UNROLL
      for (int j = 0; j < Wide<T>::size; ++j) x[i + j] = to_float(w.at[j]);
    }
  } else {
    UNROLL
    for (int k = 0; k < 8; ++k) x[k] = k < n ? to_float(p[k]) : 0.f;
  }
}
template <class T>
__device__ inline void store(const float (&y)[8], int n, T* p) {
  if (n == 8 && is_wide(p)) {
    UNROLL
    for (int i = 0; i < 8; i += Wide<T>::size) {
      Wide<T> w;
      UNROLL
      for (int j = 0; j < Wide<T>::size; ++j) from_float(y[i + j], w.at[j]);
      put_wide(p + i, w);
    }
  } else {
    UNROLL
    for (int k = 0; k < 8; ++k)
      if (k < n) from_float(y[k], p[k]);
  }
}

__device__ inline float sigmoid(float x) { return fast_divide(1.f, 1.f + expf(-x)); }

// The activations of the op table, in the order of `Activation` (arguments.cuh).
__device__ inline float gelu(float x) { return 0.5f * x * (1.f + erff(0.70710678f * x)); }
__device__ inline float activated(float x, int act) {
  switch (act) {
    case 1:
      return x * sigmoid(x);
    case 2:
      return gelu(x);
    case 3:
      return 0.5f * x * (1.f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case 4:
      return x * sigmoid(1.702f * x);
    case 5:
      return x < 0.f ? 0.f : x;
    default:
      return x;
  }
}

__device__ inline float sum_of_warp(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
  return x;
}
__device__ inline float max_of_warp(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x = fmaxf(x, shuffle_xor(x, mask));
  return x;
}

// Over all threads of the block, which all get it. `partial`: a float a warp of shared memory, free again after the next barrier.
__device__ inline float sum_of_block(float x, float* partial) {
  x = sum_of_warp(x);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0.f;
  for (int w = 0; w < static_cast<int>(blockDim.x / 32); ++w) sum += partial[w];
  return sum;
}
__device__ inline float max_of_block(float x, float* partial) {
  x = max_of_warp(x);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  float most = partial[0];
  for (int w = 1; w < static_cast<int>(blockDim.x / 32); ++w) most = fmaxf(most, partial[w]);
  return most;
}

}  // namespace vivace::cuda
