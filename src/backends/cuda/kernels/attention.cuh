// Attention without the scores in memory (flash attention), on tensor cores: bf16 and f16, any head size, masks. A warp has 16 queries; keys come by
// tiles, with a running maximum and sum. mma.sync class: sm_80 and later.
#pragma once

#include "arguments.cuh"
#include "tensor_cores.cuh"

namespace vivace::cuda {

inline constexpr float kLog2e = 1.44269504f;
__device__ inline float minus_infinity() { return float_of(0xff800000u); }

// Rows of shared memory: 16 bytes longer than they hold, so that ldmatrix meets no bank twice.
template <int width>
__device__ inline int tile_offset(int row, int element) {
  return row * (2 * width + 16) + 2 * element;
}
// `rows` rows of `width` elements, of which `size` are there; zeros around them.
template <class T, int width, bool aligned>
__device__ inline void fetch_rows(char* tile, const T* from, long long pitch, int rows, int first, int count, int size) {
  constexpr int chunks = width / 8;
  for (int i = static_cast<int>(threadIdx.x); i < rows * chunks; i += static_cast<int>(blockDim.x)) {
    const int row = i / chunks, at = i % chunks * 8;
    char* const to = tile + tile_offset<width>(row, at);
    const T* const p = from + (first + row) * pitch + at;
    const bool inside = first + row < count;
    if constexpr (aligned) {
      const bool valid = inside && at < size;
      copy_async_16(to, valid ? p : from, valid);
    } else {
      Wide<T> wide;
      UNROLL
      for (int e = 0; e < 8; ++e) wide.at[e] = inside && at + e < size ? p[e] : T{};
      put_wide(reinterpret_cast<T*>(to), wide);
    }
  }
}

// The part of a warp's 16 queries that a lane has: rows lane / 4 and lane / 4 + 8.
struct SoftmaxRows {
  float most[2], sum[2];
};

// Scores to probabilities, in base 2; returns what the sums so far are to be multiplied by.
template <int tiles>
__device__ inline void soften(float (&scores)[tiles][4], SoftmaxRows& rows, float (&factor)[2]) {
  UNROLL
  for (int half = 0; half < 2; ++half) {
    float most = rows.most[half];
    UNROLL
    for (int j = 0; j < tiles; ++j) most = fmaxf(most, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
    most = fmaxf(most, shuffle_xor(most, 1));
    most = fmaxf(most, shuffle_xor(most, 2));
    const float origin = most == minus_infinity() ? 0.f : most;  // all of them masked so far
    factor[half] = fast_exp2(rows.most[half] - origin);
    rows.most[half] = most;
    float sum = 0.f;
    UNROLL
    for (int j = 0; j < tiles; ++j) {
      UNROLL
      for (int e = 2 * half; e < 2 * half + 2; ++e) {
        scores[j][e] = fast_exp2(scores[j][e] - origin);
        sum += scores[j][e];
      }
    }
    rows.sum[half] = rows.sum[half] * factor[half] + sum;
  }
}

// head: of q and k, rounded up to 16; slice: the columns of v that a block computes, of which blockIdx.z % slices is the number; `keys` in a tile,
// two tiles in flight where `stages` is 2. The block has 32 threads for each 16 queries. Grid: tiles of queries, heads, images * slices.
template <class T, int head, int slice, int keys, int stages, bool aligned>
__device__ void attention(const AttentionArguments& a) {
  constexpr int head_steps = head / 16, key_tiles = keys / 8, slice_tiles = slice / 8;
  constexpr int k_bytes = keys * (2 * head + 16), v_bytes = keys * (2 * slice + 16);
  constexpr bool keep_q = head <= 128;  // in registers
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32, block_queries = static_cast<int>(blockDim.x) / 2;
  const int slices = (a.value_size + slice - 1) / slice, image = static_cast<int>(blockIdx.z) / slices,
            first_column = static_cast<int>(blockIdx.z) % slices * slice;
  const int first = static_cast<int>(blockIdx.x) * block_queries, head_index = static_cast<int>(blockIdx.y);
  char* const tile_q = shared_memory();
  char* const tiles = tile_q + block_queries * (2 * head + 16);
  const T* const q = static_cast<const T*>(a.q) + image * a.q_image + static_cast<long long>(head_index) * a.head_size;
  const T* const k = static_cast<const T*>(a.k) + image * a.k_image + static_cast<long long>(head_index) * a.head_size;
  const T* const v = static_cast<const T*>(a.v) + image * a.v_image + static_cast<long long>(head_index) * a.value_size + first_column;
  const int columns = a.value_size - first_column < slice ? a.value_size - first_column : slice;

  const int seen = a.causal && first + block_queries < a.keys ? first + block_queries : a.keys, rounds = (seen + keys - 1) / keys;
  const auto fetch = [&](int round) {
    char* const at = tiles + round % stages * (k_bytes + v_bytes);
    fetch_rows<T, head, aligned>(at, k, a.k_row, keys, round * keys, a.keys, a.head_size);
    fetch_rows<T, slice, aligned>(at + k_bytes, v, a.v_row, keys, round * keys, a.keys, columns);
  };
  fetch_rows<T, head, aligned>(tile_q, q, a.q_row, block_queries, first, a.queries, a.head_size);
  fetch(0);
  copy_async_commit();

  float result[slice_tiles][4] = {};
  SoftmaxRows rows{{minus_infinity(), minus_infinity()}, {0.f, 0.f}};
  unsigned fq[keep_q ? head_steps : 1][4];
  for (int round = 0; round < rounds; ++round) {
    copy_async_wait<0>();
    __syncthreads();  // this round's tiles are there, and nobody reads the last one's any more
    if (stages == 2 && round + 1 < rounds) fetch(round + 1);
    copy_async_commit();
    const char* const tile_k = tiles + round % stages * (k_bytes + v_bytes);
    const char* const tile_v = tile_k + k_bytes;

    float scores[key_tiles][4] = {};
    UNROLL
    for (int step = 0; step < head_steps; ++step) {
      unsigned(&query)[4] = fq[keep_q ? step : 0];
      if (!keep_q || round == 0) load_tiles(query, tile_q + tile_offset<head>(16 * warp + lane % 16, 16 * step + lane / 16 * 8));
      UNROLL
      for (int j = 0; j < key_tiles; j += 2) {
        unsigned key[4];
        load_tiles(key, tile_k + tile_offset<head>(8 * j + lane % 8 + lane / 16 * 8, 16 * step + lane / 8 % 2 * 8));
        multiply(scores[j], query, key[0], key[1], T{});
        multiply(scores[j + 1], query, key[2], key[3], T{});
      }
    }
    UNROLL
    for (int j = 0; j < key_tiles; ++j) {
      UNROLL
      for (int e = 0; e < 4; ++e) {
        const int row = first + 16 * warp + lane / 4 + e / 2 * 8, column = round * keys + 8 * j + lane % 4 * 2 + e % 2;
        float s = scores[j][e] * a.scale;
        if (a.mask && row < a.queries && column < a.keys)
          s += a.mask[image * a.mask_image + head_index * a.mask_head + static_cast<long long>(row) * a.keys + column];
        scores[j][e] = column >= a.keys || (a.causal && column > row) ? minus_infinity() : s * kLog2e;
      }
    }
    float factor[2];
    soften(scores, rows, factor);
    UNROLL
    for (int j = 0; j < slice_tiles; ++j) {
      UNROLL
      for (int e = 0; e < 4; ++e) result[j][e] *= factor[e / 2];
    }
    UNROLL
    for (int step = 0; step < keys / 16; ++step) {
      const float(&low)[4] = scores[2 * step], (&high)[4] = scores[2 * step + 1];
      const unsigned weights[4] = {pair_of(low[0], low[1], T{}), pair_of(low[2], low[3], T{}), pair_of(high[0], high[1], T{}),
                                   pair_of(high[2], high[3], T{})};
      UNROLL
      for (int j = 0; j < slice_tiles; j += 2) {
        unsigned value[4];
        load_tiles_transposed(value, tile_v + tile_offset<slice>(16 * step + lane % 16, 8 * j + lane / 16 * 8));
        multiply(result[j], weights, value[0], value[1], T{});
        multiply(result[j + 1], weights, value[2], value[3], T{});
      }
    }
    if (stages == 1 && round + 1 < rounds) {
      __syncthreads();
      fetch(round + 1);
      copy_async_commit();
    }
  }
  copy_async_wait<0>();

  UNROLL
  for (int half = 0; half < 2; ++half) {
    rows.sum[half] += shuffle_xor(rows.sum[half], 1);
    rows.sum[half] += shuffle_xor(rows.sum[half], 2);
  }
  // Through the place of the warp's own queries, so that they leave in 16 bytes a thread.
  UNROLL
  for (int j = 0; j < slice_tiles; ++j) {
    UNROLL
    for (int half = 0; half < 2; ++half)
      *reinterpret_cast<unsigned*>(tile_q + tile_offset<head>(16 * warp + lane / 4 + 8 * half, 8 * j + lane % 4 * 2)) =
          pair_of(fast_divide(result[j][2 * half], rows.sum[half]), fast_divide(result[j][2 * half + 1], rows.sum[half]), T{});
  }
  warp_barrier();
  T* const y = static_cast<T*>(a.y) + image * a.y_image + static_cast<long long>(head_index) * a.value_size + first_column;
  for (int i = lane; i < 16 * slice_tiles; i += 32) {
    const int row = 16 * warp + i / slice_tiles, c = i % slice_tiles * 8;
    if (first + row >= a.queries || c >= columns) continue;
    const T* const from = reinterpret_cast<const T*>(tile_q + tile_offset<head>(row, c));
    T* const to = y + (first + row) * a.y_row + c;
    if (columns - c >= 8 && is_wide(to))
      put_wide(to, wide_at(from));
    else
      for (int e = 0; e < 8 && c + e < columns; ++e) to[e] = from[e];
  }
}

}  // namespace vivace::cuda
