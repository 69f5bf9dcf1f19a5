// GEMM and convolution of any layout without tensor cores, in float32: for float32 where its products are not to be narrowed, and for what gemm.cuh
// does not take.
#pragma once

#include "gemm_finish.cuh"
#include "gemm_load.cuh"

namespace vivace::cuda {

// Blocks of 64 x 64 results by 256 threads, 4 x 4 each. Shared: two tiles of 16 x 68 floats, and 64 x 68 for the results.
template <class T, class Y, class P, bool conv, bool geglu>
__device__ void gemm_plain(const GemmArguments& a) {
  constexpr int tile = 64, depth = 16, pitch = tile + 4, threads = 256;
  float* const tile_x = reinterpret_cast<float*>(shared_memory());
  float* const tile_w = tile_x + depth * pitch;
  float* const results = tile_w + depth * pitch;
  const int thread = static_cast<int>(threadIdx.x), column_tiles = (a.columns + tile - 1) / tile;
  const long long first_row = blockIdx.x / column_tiles * static_cast<long long>(tile);
  const int first_column = static_cast<int>(blockIdx.x % column_tiles) * tile;
  const T* const x = static_cast<const T*>(a.x) + blockIdx.z * a.x_batch;
  const T* const w = static_cast<const T*>(a.w) + blockIdx.z * a.w_batch;
  const MatrixRows<T> matrix{x, a.x_pitch, a.rows, a.k};
  const PatchRows<T> patches{x, a};

  float sums[4][4] = {};
  for (int k = 0; k < a.k; k += depth) {
    for (int i = thread; i < tile * depth; i += threads) {
      const int r = i / depth, d = i % depth;  // neighbours in k lie side by side
      const T* p;
      if constexpr (conv)
        p = patches.at(patches.row(first_row + r), k + d);
      else
        p = matrix.at(matrix.row(first_row + r), k + d);
      tile_x[d * pitch + r] = p ? to_float(*p) : 0.f;
      const int column = first_column + r;
      tile_w[d * pitch + r] = column < a.columns && k + d < a.k ? to_float(w[column * a.w_pitch + (k + d) * a.w_step]) : 0.f;
    }
    __syncthreads();
    UNROLL
    for (int d = 0; d < depth; ++d) {
      UNROLL
      for (int i = 0; i < 4; ++i) {
        UNROLL
        for (int j = 0; j < 4; ++j) sums[i][j] += tile_x[d * pitch + thread / 16 * 4 + i] * tile_w[d * pitch + thread % 16 * 4 + j];
      }
    }
    __syncthreads();
  }
  UNROLL
  for (int i = 0; i < 4; ++i) {
    UNROLL
    for (int j = 0; j < 4; ++j) results[(thread / 16 * 4 + i) * pitch + thread % 16 * 4 + j] = sums[i][j];
  }
  __syncthreads();
  finish_tile<Y, P, geglu>(a, results, pitch, tile, tile, first_row, first_column, thread, threads);
}

}  // namespace vivace::cuda
