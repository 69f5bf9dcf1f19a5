// Kernels that move elements, and elementwise ops whose inputs are repeated in any way. Any grid of one dimension.
#pragma once

#include "arguments.cuh"
#include "numbers.cuh"

namespace vivace::cuda {

__device__ inline long long first_index() { return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline long long index_step() { return static_cast<long long>(gridDim.x) * blockDim.x; }

// T: as many bytes as are moved at a time.
template <class T>
__device__ void strided_copy(const CopyArguments& a) {
  for (long long i = first_index(); i < a.count; i += index_step()) {
    long long rest = i, from = 0, to = 0;
    for (int d = kMostDims - 1; d >= 0; --d) {
      if (a.sizes[d] == 1) continue;
      const long long at = rest % a.sizes[d];
      rest /= a.sizes[d];
      from += at * a.in_strides[d];
      to += at * a.out_strides[d];
    }
    static_cast<T*>(a.out)[to] = static_cast<const T*>(a.in)[from];
  }
}

template <class T>
__device__ inline float operand(const ElementwiseArguments& a, int input, long long i) {
  long long at = 0;
  for (int d = kMostDims - 1; d >= 0; --d) {
    if (a.sizes[d] == 1) continue;
    at += i % a.sizes[d] * a.strides[input][d];
    i /= a.sizes[d];
  }
  return to_float(static_cast<const T*>(a.in[input])[at]);
}

enum ElementwiseFunction : int { kAdd, kSub, kMul, kDiv, kExp, kRsqrt, kAffine, kClamp, kActivate };

// op: an ElementwiseFunction, or kActivate and more: the Activation of that number. T0, T1: of the inputs; a cast is an affine by 1 and 0.
template <int op, class T0, class T1, class Y>
__device__ void elementwise(const ElementwiseArguments& a) {
  for (long long i = first_index(); i < a.count; i += index_step()) {
    const float x = operand<T0>(a, 0, i);
    float y = x;
    if constexpr (op <= kDiv) {
      const float z = operand<T1>(a, 1, i);
      y = op == kAdd ? x + z : op == kSub ? x - z : op == kMul ? x * z : x / z;
    } else if constexpr (op == kExp) {
      y = expf(x);
    } else if constexpr (op == kRsqrt) {
      y = rsqrtf(x);
    } else if constexpr (op == kAffine) {
      y = x * a.a + a.b;
    } else if constexpr (op == kClamp) {
      y = x < a.a ? a.a : x > a.b ? a.b : x;
    } else {
      y = activated(x, op - kActivate);
    }
    from_float(y, static_cast<Y*>(a.out)[i]);
  }
}

// T as in strided_copy; rows of row_bytes.
template <class T>
__device__ void gather(const GatherArguments& a) {
  const long long each = a.row_bytes / static_cast<long long>(sizeof(T));
  for (long long i = first_index(); i < a.rows * each; i += index_step()) {
    const long long row = i / each, id = a.ids[row], inside = id < 0 ? 0 : id < a.entries ? id : a.entries - 1;
    static_cast<T*>(a.out)[i] = static_cast<const T*>(a.table)[(row * a.base + inside) * each + i % each];
  }
}

template <class T>
__device__ void upsample(const UpsampleArguments& a) {
  const long long each = a.pixel_bytes / static_cast<long long>(sizeof(T));
  for (long long i = first_index(); i < a.images * a.out_height * a.out_width * each; i += index_step()) {
    const long long pixel = i / each, x = pixel % a.out_width, y = pixel / a.out_width % a.out_height, image = pixel / a.out_width / a.out_height;
    const long long from = (image * a.height + y * a.height / a.out_height) * a.width + x * a.width / a.out_width;
    static_cast<T*>(a.out)[i] = static_cast<const T*>(a.in)[from * each + i % each];
  }
}

// A thread a row: these are few and short.
__device__ inline void find(const FindArguments& a) {
  for (long long row = first_index(); row < a.rows; row += index_step()) {
    const int* const ids = a.ids + row * a.columns;
    int best = 0;
    if (a.largest) {
      for (int i = 1; i < a.columns; ++i)
        if (ids[i] > ids[best]) best = i;
    } else {
      while (best < a.columns && ids[best] != a.value) ++best;
      if (best == a.columns) best = 0;
    }
    a.out[row] = best;
  }
}

__device__ inline long long position(long long i, const long long (&sizes)[kMostDims], const long long (&strides)[kMostDims]) {
  long long at = 0;
  for (int d = kMostDims - 1; d >= 0; --d) {
    if (sizes[d] == 1) continue;
    at += i % sizes[d] * strides[d];
    i /= sizes[d];
  }
  return at;
}

// A warp a result; its sum times `factor`, or the largest.
template <class T, class Y, bool largest>
__device__ void reduce(const ReduceArguments& a) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (long long i = first_index() / 32; i < a.count; i += index_step() / 32) {
    const T* const in = static_cast<const T*>(a.in) + position(i, a.kept_sizes, a.kept_strides);
    float result = largest ? float_of(0xff800000u) : 0.f;
    for (long long j = lane; j < a.reduced; j += 32) {
      const float x = to_float(in[position(j, a.reduced_sizes, a.reduced_strides)]);
      result = largest ? fmaxf(result, x) : result + x;
    }
    result = largest ? max_of_warp(result) : sum_of_warp(result) * a.factor;
    if (lane == 0) from_float(result, static_cast<Y*>(a.out)[i]);
  }
}

// float8 e4m3, as stored weights have it.
struct f8e4m3 {
  unsigned char bits;
};
__device__ inline float to_float(f8e4m3 x) {
  const unsigned sign = static_cast<unsigned>(x.bits & 0x80) << 24, exponent = x.bits >> 3 & 15, mantissa = x.bits & 7;
  if ((x.bits & 0x7f) == 0x7f) return float_of(0x7fc00000u);
  if (exponent == 0) return (sign ? -1.f : 1.f) * static_cast<float>(mantissa) * 0.001953125f;
  return float_of(sign | (exponent + 120) << 23 | mantissa << 20);
}
__device__ inline float to_float(signed char x) { return static_cast<float>(x); }

// Rows of a weight of 8 bits times their scales.
template <class T, class Y>
__device__ void dequantize(const DequantizeArguments& a) {
  for (long long i = first_index(); i < a.rows * a.columns; i += index_step())
    from_float(to_float(static_cast<const T*>(a.in)[i]) * a.scales[i / a.columns], static_cast<Y*>(a.out)[i]);
}

}  // namespace vivace::cuda
