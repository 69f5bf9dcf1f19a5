// What a GEMM does to its sums on their way to memory.
#pragma once

#include "arguments.cuh"
#include "numbers.cuh"

namespace vivace::cuda {

// x += or *= eight values of a vector.
template <class P>
__device__ inline void add_vector(const void* p, long long at, int n, float (&x)[8]) {
  float v[8];
  load(static_cast<const P*>(p) + at, n, v);
  UNROLL
  for (int i = 0; i < 8; ++i) x[i] += v[i];
}
template <class P>
__device__ inline void scale_by_vector(const void* p, long long at, int n, float (&x)[8]) {
  float v[8];
  load(static_cast<const P*>(p) + at, n, v);
  UNROLL
  for (int i = 0; i < 8; ++i) x[i] *= v[i];
}

// Scales and bias of the eight sums that begin at column c.
template <class P>
__device__ inline void finish_sums(const GemmArguments& a, long long row, int c, int n, float (&x)[8]) {
  if (a.row_scales) {
    const float scale = a.row_scales[row];
    UNROLL
    for (int i = 0; i < 8; ++i) x[i] *= scale;
  }
  if (a.scales) scale_by_vector<float>(a.scales, c, n, x);
  if (a.bias) add_vector<P>(a.bias, c, n, x);
}

// The sums [rows, width] at `sums` of the result's rows and columns from (row, column) on, by `threads` threads. P: of the bias, and of image_bias
// and gate. With GEGLU each 16 columns are 8 of the hidden half and 8 of the gate.
template <class Y, class P, bool geglu>
__device__ inline void finish_tile(const GemmArguments& a, const float* sums, int pitch, int rows, int width, long long row, int column, int thread,
                                   int threads) {
  constexpr int taken = geglu ? 16 : 8;
  const int vectors = width / taken, columns = geglu ? a.columns / 2 : a.columns;
  Y* const y = static_cast<Y*>(a.y) + blockIdx.z * a.y_batch;
  for (int v = thread; v < rows * vectors; v += threads) {
    const long long r = row + v / vectors, image = static_cast<int>(r) / static_cast<int>(a.rows_per_image);
    const int c = (geglu ? column / 2 : column) + v % vectors * 8, n = columns - c < 8 ? columns - c : 8;
    if (r >= a.rows || n <= 0) continue;
    const float* const from = sums + v / vectors * pitch + v % vectors * taken;
    float x[8];
    UNROLL
    for (int i = 0; i < 8; ++i) x[i] = from[i];
    finish_sums<P>(a, r, c, n, x);
    if constexpr (geglu) {
      float gate[8];
      UNROLL
      for (int i = 0; i < 8; ++i) gate[i] = from[8 + i];
      finish_sums<P>(a, r, columns + c, n, gate);
      UNROLL
      for (int i = 0; i < 8; ++i) x[i] *= activated(gate[i], a.act);
    } else {
      if (a.image_bias) add_vector<P>(a.image_bias, image * a.image_bias_pitch + c, n, x);
      UNROLL
      for (int i = 0; i < 8; ++i) x[i] = activated(x[i], a.act);
      if (a.gate) scale_by_vector<P>(a.gate, image * a.gate_pitch + c, n, x);
      if (a.residual) add_vector<Y>(a.residual, r * a.residual_pitch + c, n, x);
    }
    store(x, n, y + r * a.y_pitch + c);
  }
}

}  // namespace vivace::cuda
