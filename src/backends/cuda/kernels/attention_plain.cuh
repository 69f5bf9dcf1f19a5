// Attention without tensor cores, in float32: for float32, and what attention.cuh does not take.
#pragma once

#include "arguments.cuh"
#include "numbers.cuh"

namespace vivace::cuda {

// Rows begin .. begin + rows of `count`, `size` of `width` features; zeros around them. By all threads.
template <int width, class T>
__device__ __forceinline__ void fetch_floats(float* to, int to_pitch, const T* from, long long from_pitch, int size, int begin, int rows, int count) {
  for (int i = static_cast<int>(threadIdx.x); i < rows * width; i += static_cast<int>(blockDim.x)) {
    const int row = i / width, c = i % width;
    to[row * to_pitch + c] = begin + row < count && c < size ? to_float(from[(begin + row) * from_pitch + c]) : 0.f;
  }
}

// A warp has four queries; a lane has a key of each tile of 32, then every 32nd column of the result. head: of q, k and v, rounded up to 32. Grid:
// tiles of 4 queries a warp, heads, images. Shared: the queries [warps * 4, head], a tile of keys or values [32, head + 1], probabilities [warps, 4,
// 32]; float.
template <class T, int head>
__device__ void attention_plain(const AttentionArguments& a) {
  constexpr int each = 4, pitch = head + 1;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32, warps = static_cast<int>(blockDim.x) / 32;
  const int image = static_cast<int>(blockIdx.z), head_index = static_cast<int>(blockIdx.y), first = static_cast<int>(blockIdx.x) * warps * each;
  float* const queries = reinterpret_cast<float*>(shared_memory());
  float* const tile = queries + warps * each * head;
  float* const shares = tile + 32 * pitch + warp * each * 32;
  const T* const q = static_cast<const T*>(a.q) + image * a.q_image + static_cast<long long>(head_index) * a.head_size;
  const T* const k = static_cast<const T*>(a.k) + image * a.k_image + static_cast<long long>(head_index) * a.head_size;
  const T* const v = static_cast<const T*>(a.v) + image * a.v_image + static_cast<long long>(head_index) * a.value_size;
  fetch_floats<head>(queries, head, q, a.q_row, a.head_size, first, warps * each, a.queries);
  const float minus_infinite = float_of(0xff800000u);
  float most[each], sum[each] = {}, result[each][head / 32] = {};
  for (float& m : most) m = minus_infinite;
  const int end = a.causal && first + warps * each < a.keys ? first + warps * each : a.keys;
  for (int begin = 0; begin < end; begin += 32) {
    __syncthreads();
    fetch_floats<head>(tile, pitch, k, a.k_row, a.head_size, begin, 32, a.keys);
    __syncthreads();
    float scores[each] = {};
    for (int c = 0; c < a.head_size; ++c) {
      const float key = tile[lane * pitch + c];
      UNROLL
      for (int i = 0; i < each; ++i) scores[i] += queries[(warp * each + i) * head + c] * key;
    }
    UNROLL
    for (int i = 0; i < each; ++i) {
      const int row = first + warp * each + i, column = begin + lane;
      float s = scores[i] * a.scale;
      if (a.mask && row < a.queries && column < a.keys)
        s += a.mask[image * a.mask_image + head_index * a.mask_head + static_cast<long long>(row) * a.keys + column];
      if (column >= a.keys || (a.causal && column > row)) s = minus_infinite;
      const float now = fmaxf(most[i], max_of_warp(s)), origin = now == minus_infinite ? 0.f : now;  // all of them masked so far
      const float p = expf(s - origin), factor = expf(most[i] - origin);
      most[i] = now;
      sum[i] = sum[i] * factor + sum_of_warp(p);
      shares[i * 32 + lane] = p;
      for (float& r : result[i]) r *= factor;
    }
    __syncthreads();
    fetch_floats<head>(tile, pitch, v, a.v_row, a.value_size, begin, 32, a.keys);
    __syncthreads();
    for (int key = 0; key < 32; ++key) {
      UNROLL
      for (int j = 0; j < head / 32; ++j) {
        const float value = tile[key * pitch + 32 * j + lane];
        UNROLL
        for (int i = 0; i < each; ++i) result[i][j] += shares[i * 32 + key] * value;
      }
    }
  }
  T* const y = static_cast<T*>(a.y) + image * a.y_image + static_cast<long long>(head_index) * a.value_size;
  UNROLL
  for (int i = 0; i < each; ++i) {
    UNROLL
    for (int j = 0; j < head / 32; ++j) {
      const int row = first + warp * each + i, c = 32 * j + lane;
      if (row < a.queries && c < a.value_size) from_float(fast_divide(result[i][j], sum[i]), y[row * a.y_row + c]);
    }
  }
}

}  // namespace vivace::cuda
