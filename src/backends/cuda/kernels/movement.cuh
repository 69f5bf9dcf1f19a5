// Kernels that move elements, and elementwise ops whose inputs are repeated in any way. Any grid of one dimension.
#pragma once

#include "arguments.cuh"
#include "numbers.cuh"

namespace vivace::cuda {

// Index: unsigned where 31 bits hold it, since dividing numbers of 64 bits is slow.
template <class Index = long long>
__device__ inline Index first_index() {
  return static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
}
template <class Index = long long>
__device__ inline Index index_step() {
  return static_cast<Index>(gridDim.x) * blockDim.x;
}

// T: as many bytes as are moved at a time.
template <class T, class Index>
__device__ void strided_copy(const CopyArguments& a) {
  for (Index i = first_index<Index>(); i < a.count; i += index_step<Index>()) {
    Index rest = i;
    long long from = 0, to = 0;
    UNROLL
    for (int d = kMostDims - 1; d >= 0; --d) {
      if (a.sizes[d] == 1) continue;
      const Index size = static_cast<Index>(a.sizes[d]), at = rest % size;
      rest /= size;
      from += at * a.in_strides[d];
      to += at * a.out_strides[d];
    }
    static_cast<T*>(a.out)[to] = static_cast<const T*>(a.in)[from];
  }
}

// The offset of the i-th element in row-major order.
template <class Index>
__device__ inline long long position(Index i, const long long (&sizes)[kMostDims], const long long (&strides)[kMostDims]) {
  long long at = 0;
  UNROLL
  for (int d = kMostDims - 1; d >= 0; --d) {
    if (sizes[d] == 1) continue;
    const Index size = static_cast<Index>(sizes[d]);
    at += i % size * strides[d];
    i /= size;
  }
  return at;
}

enum ElementwiseFunction : int { kAdd, kSub, kMul, kDiv, kExp, kRsqrt, kAffine, kClamp, kActivate };

// op: an ElementwiseFunction, or kActivate and more: the Activation of that number. T0, T1: of the inputs; a cast is an affine by 1 and 0.
template <int op, class T0, class T1, class Y, class Index>
__device__ void elementwise(const ElementwiseArguments& a) {
  for (Index i = first_index<Index>(); i < a.count; i += index_step<Index>()) {
    const float x = to_float(static_cast<const T0*>(a.in[0])[position(i, a.sizes, a.strides[0])]);
    float y = x;
    if constexpr (op <= kDiv) {
      const float z = to_float(static_cast<const T1*>(a.in[1])[position(i, a.sizes, a.strides[1])]);
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
template <class T, class Index>
__device__ void gather(const GatherArguments& a) {
  const Index each = static_cast<Index>(a.row_bytes / static_cast<long long>(sizeof(T)));
  for (Index i = first_index<Index>(); i < a.rows * each; i += index_step<Index>()) {
    const Index row = i / each;
    const long long id = a.ids[row], inside = id < 0 ? 0 : id < a.entries ? id : a.entries - 1;
    static_cast<T*>(a.out)[i] = static_cast<const T*>(a.table)[(row * a.base + inside) * each + i % each];
  }
}

template <class T, class Index>
__device__ void upsample(const UpsampleArguments& a) {
  const Index each = static_cast<Index>(a.pixel_bytes / static_cast<long long>(sizeof(T))), out_width = static_cast<Index>(a.out_width);
  const Index out_height = static_cast<Index>(a.out_height), width = static_cast<Index>(a.width), height = static_cast<Index>(a.height);
  for (Index i = first_index<Index>(); i < a.images * a.out_height * a.out_width * each; i += index_step<Index>()) {
    const Index pixel = i / each, x = pixel % out_width, y = pixel / out_width % out_height, image = pixel / out_width / out_height;
    const long long from = (static_cast<long long>(image) * height + y * height / out_height) * width + x * width / out_width;
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

__device__ inline float to_float(signed char x) { return static_cast<float>(x); }

// Rows of 8 bits times their scales, where there are any.
template <class T, class Y>
__device__ void dequantize(const DequantizeArguments& a) {
  for (long long i = first_index(); i < a.rows * a.columns; i += index_step())
    from_float(to_float(static_cast<const T*>(a.in)[i]) * (a.scales ? a.scales[i / a.columns] : 1.f), static_cast<Y*>(a.out)[i]);
}

}  // namespace vivace::cuda
