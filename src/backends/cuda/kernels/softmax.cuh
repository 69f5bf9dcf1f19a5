// Softmax of rows, and rotation of pairs by a table.
#pragma once

#include "arguments.cuh"
#include "numbers.cuh"

namespace vivace::cuda {

// A block a row. Shared: 64 floats. A row whose elements are all -inf gives NaN, as in PyTorch.
template <class T, class Y>
__device__ void softmax(const SoftmaxArguments& a) {
  float* const partial = reinterpret_cast<float*>(shared_memory());
  const T* const x = static_cast<const T*>(a.x) + blockIdx.x * a.x_pitch;
  Y* const y = static_cast<Y*>(a.y) + blockIdx.x * a.y_pitch;
  const long long begin = threadIdx.x * 8LL, step = blockDim.x * 8LL;
  const auto count = [&](long long c) { return a.columns - c < 8 ? static_cast<int>(a.columns - c) : 8; };
  float most = float_of(0xff800000u), sum = 0.f, v[8];
  for (long long c = begin; c < a.columns; c += step) {
    load(x + c, count(c), v);
    for (int i = 0; i < count(c); ++i) most = fmaxf(most, v[i]);
  }
  most = max_of_block(most, partial);
  for (long long c = begin; c < a.columns; c += step) {
    load(x + c, count(c), v);
    for (int i = 0; i < count(c); ++i) sum += expf(v[i] - most);
  }
  const float inverse = 1.f / sum_of_block(sum, partial + 32);
  for (long long c = begin; c < a.columns; c += step) {
    load(x + c, count(c), v);
    for (int i = 0; i < 8; ++i) v[i] = expf(v[i] - most) * inverse;
    store(v, count(c), y + c);
  }
}

// A thread eight features; any grid.
template <class T>
__device__ void rotary(const RotaryArguments& a) {
  const long long width = static_cast<long long>(a.columns) * a.heads, vectors = (width + 7) / 8,
                  step = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < a.rows * vectors; i += step) {
    const long long row = i / vectors, c = i % vectors * 8;
    const int n = width - c < 8 ? static_cast<int>(width - c) : 8;
    float x[8];
    load(static_cast<const T*>(a.x) + row * a.x_pitch + c, n, x);
    UNROLL
    for (int k = 0; k < 8; k += 2) {  // heads have an even number of features: a pair never crosses two
      if (k >= n) continue;
      const float* const turn = a.table + row % a.tokens * a.columns + (c + k) % a.columns;
      const float even = x[k], odd = x[k + 1];
      x[k] = even * turn[0] - odd * turn[1];
      x[k + 1] = odd * turn[0] + even * turn[1];
    }
    store(x, n, static_cast<T*>(a.y) + row * a.y_pitch + c);
  }
}

}  // namespace vivace::cuda
