// Norms of rows or of their heads, and what else is done to whole rows: LayerNorm and RMSNorm, with weights of each image and a rotation, GEGLU's
// product; written as floats or quantised to 8 bits: unsigned char q = round(x / scale) + 128, scale = absmax / 127 of the row, which may be turned
// by a Hadamard matrix first; f8e4m3 with the bits of tensor/narrow_weight.h.
#pragma once

#include "arguments.cuh"
#include "numbers.cuh"

namespace vivace::cuda {

// The threads that share a row: a warp, or the block.
template <bool wide>
struct RowTeam {
  float* partial;
  int parity = 0;
  __device__ int thread() const { return static_cast<int>(wide ? threadIdx.x : threadIdx.x % 32); }
  __device__ int size() const { return static_cast<int>(wide ? blockDim.x : 32); }
  // Two places in turn: the slowest thread may still read the last sum while the fastest writes the next.
  __device__ float* place() {
    parity ^= 32;
    return partial + parity;
  }
  __device__ float sum(float x) {
    if constexpr (wide) return sum_of_block(x, place());
    return sum_of_warp(x);
  }
  __device__ float max(float x) {
    if constexpr (wide) return max_of_block(x, place());
    return max_of_warp(x);
  }
  __device__ void barrier() const {
    if constexpr (wide)
      __syncthreads();
    else
      warp_barrier();
  }
};

// Turns the team's row by the op's Hadamard matrix (ops/decompose.cc) in blocks of so many values, a power of two that divides `columns`; without the
// matrix's factor, which is returned.
template <bool wide>
__device__ inline float turn_row(const RowTeam<wide>& team, float* values, int columns, int block) {
  for (int stride = 1; stride < block;) {
    const int factor = 4 * stride <= block ? 4 : 2;
    team.barrier();
    for (int i = team.thread(); i < columns / factor; i += team.size()) {
      float* const at = values + i / stride * factor * stride + i % stride;
      const float x0 = at[0], x1 = at[stride];
      if (factor == 2) {
        at[0] = x0 + x1;
        at[stride] = x0 - x1;
      } else {
        const float x2 = at[2 * stride], x3 = at[3 * stride], sum = x0 + x1 + x2 + x3;
        at[0] = sum - 2.f * x3;
        at[stride] = sum - 2.f * x2;
        at[2 * stride] = sum - 2.f * x1;
        at[3 * stride] = sum - 2.f * x0;
      }
    }
    stride *= factor;
  }
  team.barrier();
  return rsqrtf(static_cast<float>(block));
}

template <class T>
__device__ inline void load_row(const RowNormArguments& a, int row, int head, int c, int n, float (&x)[8]) {
  const T* in = static_cast<const T*>(a.x) + row * a.x_pitch + static_cast<long long>(head) * a.columns + c;
  load(in, n, x);
  if (a.function != kGeglu) return;
  float gate[8];
  load(in + a.columns, n, gate);
  UNROLL
  for (int i = 0; i < 8; ++i) x[i] *= gelu(gate[i]);
}

// x = (x - mean) factor weight + bias, rotated.
template <class W>
__device__ inline void finish_row(const RowNormArguments& a, int row, int c, int n, float mean, float factor, float (&x)[8]) {
  const int image = row / static_cast<int>(a.tokens);
  UNROLL
  for (int i = 0; i < 8; ++i) x[i] = (x[i] - mean) * factor;
  float p[8];
  if (a.weight) {
    load(static_cast<const W*>(a.weight) + image * a.weight_pitch + c, n, p);
    UNROLL
    for (int i = 0; i < 8; ++i) x[i] *= p[i];
  }
  if (a.bias) {
    load(static_cast<const W*>(a.bias) + image * a.bias_pitch + c, n, p);
    UNROLL
    for (int i = 0; i < 8; ++i) x[i] += p[i];
  }
  if (a.table) {
    load(a.table + static_cast<long long>(row % static_cast<int>(a.tokens)) * a.columns + c, n, p);
    UNROLL
    for (int i = 0; i < 8; i += 2) {
      const float even = x[i], odd = x[i + 1];
      x[i] = even * p[i] - odd * p[i + 1];
      x[i + 1] = odd * p[i] + even * p[i + 1];
    }
  }
}

// Of a row of which `most` is the largest magnitude. Below 1e-36, 127 / most is infinite.
__device__ inline float scale_of(float most, unsigned char) { return most * (1.f / 127.f); }
__device__ inline float inverse_of(float most, unsigned char) { return most < 1e-36f ? 0.f : fast_divide(127.f, most); }
__device__ inline unsigned byte_of(float x, unsigned char) { return static_cast<unsigned>(round_to_int(x) + 128); }
__device__ inline float scale_of(float most, f8e4m3) { return most / 448.f; }
__device__ inline float inverse_of(float most, f8e4m3) { return most / 448.f > 1e-38f ? 1.f / (most / 448.f) : 0.f; }
__device__ inline unsigned byte_of(float x, f8e4m3) { return rounded_to<f8e4m3>(x).bits; }

template <class Y>
__device__ inline void store_bytes(const float (&x)[8], float inverse, int n, void* to) {
  unsigned word[2] = {0, 0};
  UNROLL
  for (int i = 0; i < 8; ++i) word[i / 4] |= byte_of(i < n ? mul_rounded(x[i], inverse) : 0.f, Y{}) << 8 * (i % 4);
  static_cast<unsigned*>(to)[0] = word[0];  // rows are padded to whole words
  if (n > 4) static_cast<unsigned*>(to)[1] = word[1];
}

// T: of x; W: of weight and bias; Y: of y, unsigned char or f8e4m3 where it is quantised. wide: a block a row, else a warp. Shared: the rows as
// float, then 64 floats.
template <class T, class W, class Y, bool wide>
__device__ void row_norm(const RowNormArguments& a) {
  constexpr bool quantized = sizeof(Y) == 1;
  const int warps = static_cast<int>(blockDim.x / 32), padded = (a.columns + 7) / 8 * 8;
  float* const memory = reinterpret_cast<float*>(shared_memory());
  float* const values = memory + (wide ? 0 : static_cast<int>(threadIdx.x / 32) * padded);
  RowTeam<wide> team{memory + padded * (wide ? 1 : warps)};
  const int unit = static_cast<int>(wide ? blockIdx.x : blockIdx.x * warps + threadIdx.x / 32);
  if (unit >= a.rows * a.heads) return;
  const int row = unit / a.heads, head = unit % a.heads;
  const int begin = team.thread() * 8, step = team.size() * 8;
  // What a thread puts into shared memory it alone reads again.
  float sum = 0.f;
  for (int c = begin; c < a.columns; c += step) {
    float x[8];
    load_row<T>(a, row, head, c, a.columns - c < 8 ? a.columns - c : 8, x);
    UNROLL
    for (int i = 0; i < 8; ++i) {
      values[c + i] = x[i];
      sum += x[i];
    }
  }
  float mean = 0.f, factor = 1.f;
  if (a.function == kLayerNorm || a.function == kRmsNorm) {
    if (a.function == kLayerNorm) mean = fast_divide(team.sum(sum), static_cast<float>(a.columns));
    float squares = 0.f;
    for (int c = begin; c < a.columns; c += step) {
      UNROLL
      for (int i = 0; i < 8; ++i) {
        if (c + i >= a.columns) continue;
        const float d = values[c + i] - mean;
        squares += d * d;
      }
    }
    factor = rsqrtf(fast_divide(team.sum(squares), static_cast<float>(a.columns)) + a.eps);
  }
  for (int c = begin; c < a.columns; c += step) {
    const int n = a.columns - c < 8 ? a.columns - c : 8;
    float x[8];
    UNROLL
    for (int i = 0; i < 8; ++i) x[i] = values[c + i];
    finish_row<W>(a, row, c, n, mean, factor, x);
    if constexpr (quantized) {
      UNROLL
      for (int i = 0; i < 8; ++i)
        if (i < n) values[c + i] = x[i];
    } else {
      store(x, n, static_cast<Y*>(a.y) + row * a.y_pitch + static_cast<long long>(head) * a.columns + c);
    }
  }
  if constexpr (quantized) {
    const float norm = a.hadamard ? turn_row(team, values, a.columns, a.hadamard) : 1.f;
    float most = 0.f;
    bool bad = false;
    for (int c = begin; c < a.columns; c += step)
      for (int i = c; i < c + 8 && i < a.columns; ++i) {
        values[i] *= norm;
        most = fmaxf(most, fabsf(values[i]));
        bad = bad || !(fabsf(values[i]) < 3.4028235e38f);
      }
    most = team.max(most);
    bad = team.max(bad ? 1.f : 0.f) > 0.f;
    const float scale = scale_of(most, Y{}), inverse = bad ? 0.f : inverse_of(most, Y{});
    for (int c = begin; c < a.columns; c += step) {
      float x[8];
      UNROLL
      for (int i = 0; i < 8; ++i) x[i] = bad || c + i >= a.columns ? 0.f : values[c + i];
      store_bytes<Y>(x, inverse, a.columns - c < 8 ? a.columns - c : 8, static_cast<Y*>(a.y) + row * a.y_pitch + c);
    }
    if (team.thread() == 0) {
      a.scales[row] = bad ? float_of(0x7fc00000u) : scale;
      if (bad && a.bad_value) exchange_if(a.bad_value, -1, a.step);
    }
  }
}

}  // namespace vivace::cuda
