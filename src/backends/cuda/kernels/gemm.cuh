// GEMM and convolution on tensor cores: bf16, f16 and (from sm_89 on) float8 with float32 sums, int8 with int32 sums. One source for sm_80 and later
// (mma.sync, cp.async).
#pragma once

#include "gemm_finish.cuh"
#include "gemm_load.cuh"
#include "tensor_cores.cuh"

namespace vivace::cuda {

// The tile of block `id`: groups of 8 tiles of rows go over all columns together, so that both stay in the L2 cache.
__device__ inline void tile_of(int id, int row_tiles, int column_tiles, int& row, int& column) {
  const int group = id / (8 * column_tiles), within = id % (8 * column_tiles), rest = row_tiles - 8 * group, rows = rest < 8 ? rest : 8;
  row = 8 * group + within % rows;
  column = within / rows;
}

template <class T>
struct GemmSum {
  using Type = float;
  static constexpr unsigned flipped = 0;  // bits of x
};
template <>
struct GemmSum<signed char> {
  using Type = int;
  static constexpr unsigned flipped = 0x80808080u;  // minus 128
};

// T: of x and w; signed char: x is quantised rows, whose bytes are 128 too large; f8e4m3: rows of that. Y: of y and residual; P: of bias, image_bias
// and gate. Blocks of `tile_rows` x `tile_columns` results, warps of warp_rows x warp_columns. conv: rows are patches. aligned: see TileLoader.
template <class T, class Y, class P, int tile_rows, int tile_columns, int warp_rows, int warp_columns, bool conv, bool aligned, bool geglu>
__device__ void gemm(const GemmArguments& a) {
  using Sum = typename GemmSum<T>::Type;
  constexpr int stages = 3, stage_bytes = (tile_rows + tile_columns) * kTileBytes, tile_k = kTileBytes / static_cast<int>(sizeof(T));
  constexpr int across = tile_columns / warp_columns, threads = tile_rows / warp_rows * across * 32;
  constexpr int row_steps = warp_rows / 16, column_steps = warp_columns / 8;
  char* const memory = shared_memory();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_row = warp / across * warp_rows, warp_column = warp % across * warp_columns;
  int row_tile, column_tile;
  tile_of(static_cast<int>(blockIdx.x), static_cast<int>((a.rows + tile_rows - 1) / tile_rows), (a.columns + tile_columns - 1) / tile_columns,
          row_tile, column_tile);
  const long long first_row = static_cast<long long>(row_tile) * tile_rows;
  const int first_column = column_tile * tile_columns;

  const MatrixRows<T> weights{static_cast<const T*>(a.w) + blockIdx.z * a.w_batch, a.w_pitch, a.columns, a.k};
  const TileLoader<MatrixRows<T>, T, tile_columns, threads, aligned> load_w(weights, first_column);
  const auto load_x = rows_loader<T, tile_rows, threads, conv, aligned>(a, first_row);
  const auto fetch = [&](int tile) {
    char* const stage = memory + tile % stages * stage_bytes;
    load_x.fetch(stage, tile * tile_k);
    load_w.fetch(stage + tile_rows * kTileBytes, tile * tile_k);
  };

  Sum sums[row_steps][column_steps][4] = {};
  const int tiles = (a.k + tile_k - 1) / tile_k;
  for (int t = 0; t < stages - 1; ++t) {
    if (t < tiles) fetch(t);
    copy_async_commit();
  }
  for (int t = 0; t < tiles; ++t) {
    copy_async_wait<stages - 2>();
    __syncthreads();  // tile t is there, and nobody reads the one before it any more
    if (t + stages - 1 < tiles) fetch(t + stages - 1);
    copy_async_commit();
    const char* const tile_x = memory + t % stages * stage_bytes;
    const char* const tile_w = tile_x + tile_rows * kTileBytes;
    UNROLL
    for (int step = 0; step < 2; ++step) {
      unsigned fx[row_steps][4], fw[column_steps / 2][4];
      UNROLL
      for (int i = 0; i < row_steps; ++i) {
        load_tiles(fx[i], tile_x + chunk_offset(warp_row + 16 * i + lane % 16, 2 * step + lane / 16));
        if constexpr (GemmSum<T>::flipped != 0)
          for (unsigned& bytes : fx[i]) bytes ^= GemmSum<T>::flipped;
      }
      UNROLL
      for (int j = 0; j < column_steps / 2; ++j)
        load_tiles(fw[j], tile_w + chunk_offset(warp_column + 16 * j + lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2));
      UNROLL
      for (int i = 0; i < row_steps; ++i) {
        UNROLL
        for (int j = 0; j < column_steps; ++j) multiply(sums[i][j], fx[i], fw[j / 2][j % 2 * 2], fw[j / 2][j % 2 * 2 + 1], T{});
      }
    }
  }
  copy_async_wait<0>();
  __syncthreads();

  // Sixteen rows at a time through shared memory, so that results leave in 16 bytes a thread.
  constexpr int pitch = warp_columns + 4;
  float* const staged = reinterpret_cast<float*>(memory) + warp * 16 * pitch;
  for (int i = 0; i < row_steps; ++i) {
    UNROLL
    for (int m = 0; m < row_steps; ++m) {  // sums[i] would not be registers
      if (m != i) continue;
      UNROLL
      for (int j = 0; j < column_steps; ++j) {
        UNROLL
        for (int e = 0; e < 4; ++e) staged[(lane / 4 + e / 2 * 8) * pitch + 8 * j + lane % 4 * 2 + e % 2] = static_cast<float>(sums[m][j][e]);
      }
    }
    warp_barrier();
    finish_tile<Y, P, geglu>(a, staged, pitch, 16, warp_columns, first_row + warp_row + 16 * i, first_column + warp_column, lane, 32);
    warp_barrier();
  }
}

}  // namespace vivace::cuda
