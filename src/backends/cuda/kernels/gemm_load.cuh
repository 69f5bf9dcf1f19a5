// How a GEMM's tiles come into shared memory: rows of 64 bytes, in four chunks of 16 that lie in an order of the row's own, so that ldmatrix meets no
// bank twice.
#pragma once

#include "arguments.cuh"
#include "numbers.cuh"

namespace vivace::cuda {

inline constexpr int kTileBytes = 64;  // of a row, in a stage

__device__ inline int chunk_offset(int row, int chunk) { return row * kTileBytes + (chunk ^ (row / 2 % 4)) * 16; }

// Chunks of rows of a matrix [count, k].
template <class T>
struct MatrixRows {
  const T* data;
  long long pitch, count;
  int k;
  struct Row {
    const T* begin;  // nullptr: beyond the last
  };
  __device__ Row row(long long r) const { return {r < count ? data + r * pitch : nullptr}; }
  __device__ const T* at(const Row& row, int position) const { return row.begin && position < k ? row.begin + position : nullptr; }
};

// Rows are patches of images: the k-th element of a patch is channel k % channels of pixel k / channels of the kernel.
template <class T>
struct PatchRows {
  const T* data;
  const GemmArguments& a;
  struct Row {
    const T* image;  // nullptr: beyond the last
    int y, x;        // of the patch's first pixel, in the padded image
  };
  __device__ Row row(long long r) const {
    if (r >= a.rows) return {nullptr, 0, 0};
    const int pixels = a.out_height * a.out_width, image = static_cast<int>(r) / pixels, p = static_cast<int>(r) % pixels;
    return {data + static_cast<long long>(image) * a.height * a.width * a.channels, p / a.out_width * a.stride - a.top,
            p % a.out_width * a.stride - a.left};
  }
  __device__ const T* at(const Row& row, int position) const {
    const int tap = position / a.channels, y = row.y + tap / a.kernel_width, x = row.x + tap % a.kernel_width;
    if (!row.image || position >= a.k || y < 0 || x < 0 || y >= a.height << a.upsample || x >= a.width << a.upsample) return nullptr;
    return row.image + (static_cast<long long>(y >> a.upsample) * a.width + (x >> a.upsample)) * a.channels + position % a.channels;
  }
};

// A thread's part of a tile of `rows` rows. aligned: every chunk begins at a multiple of 16 bytes and holds elements of one pixel, all or none of
// them inside.
template <class Rows, class T, int rows, int threads, bool aligned>
struct TileLoader {
  static constexpr int count = rows * 4 / threads;
  Rows from;
  typename Rows::Row row[count];

  __device__ TileLoader(const Rows& rows_from, long long first) : from(rows_from) {
    UNROLL
    for (int i = 0; i < count; ++i) row[i] = from.row(first + (static_cast<int>(threadIdx.x) + i * threads) / 4);
  }
  // Elements k .. k + 64 / sizeof(T) of the rows. Asynchronous where they are aligned.
  __device__ void fetch(char* tile, int k) const {
    constexpr int each = Wide<T>::size;
    const int chunk = static_cast<int>(threadIdx.x) % 4, position = k + chunk * each;
    UNROLL
    for (int i = 0; i < count; ++i) {
      char* const to = tile + chunk_offset((static_cast<int>(threadIdx.x) + i * threads) / 4, chunk);
      if constexpr (aligned) {
        const T* const p = from.at(row[i], position);
        copy_async_16(to, p ? p : from.data, p != nullptr);
      } else {
        Wide<T> wide;
        UNROLL
        for (int e = 0; e < each; ++e) {
          const T* const p = from.at(row[i], position + e);
          wide.at[e] = p ? *p : T{};
        }
        put_wide(reinterpret_cast<T*>(to), wide);
      }
    }
  }
};

// Of x: a matrix, or of a convolution patches.
template <class T, int rows, int threads, bool conv, bool aligned>
__device__ inline auto rows_loader(const GemmArguments& a, long long first) {
  const T* const x = static_cast<const T*>(a.x) + blockIdx.z * a.x_batch;
  if constexpr (conv)
    return TileLoader<PatchRows<T>, T, rows, threads, aligned>({x, a}, first);
  else
    return TileLoader<MatrixRows<T>, T, rows, threads, aligned>({x, a.x_pitch, a.rows, a.k}, first);
}

}  // namespace vivace::cuda
