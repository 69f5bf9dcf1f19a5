// Weights of 8 bits, made on the GPU: the rule of tensor/narrow_weight.h, bit for bit where rows are not turned.
#pragma once

#include "movement.cuh"
#include "row_norm.cuh"

namespace vivace::cuda {

__device__ inline float largest_of(signed char) { return 127.f; }
__device__ inline float largest_of(f8e4m3) { return 448.f; }

__device__ inline void narrow(float x, signed char& y) { y = static_cast<signed char>(round_to_int(x < -127.f ? -127.f : x > 127.f ? 127.f : x)); }
__device__ inline void narrow(float x, f8e4m3& y) { from_float(x, y); }

// A block a row. Shared: the row as float, then 64 floats.
template <class T, class Y>
__device__ void quantize_weight(const QuantizeWeightArguments& a) {
  const int row = static_cast<int>(blockIdx.x), half = static_cast<int>(a.rows) / 2;
  const int stored = a.geglu ? row / 16 * 8 + row % 8 + (row / 8 % 2 ? half : 0) : row;
  const T* const in = static_cast<const T*>(a.in) + static_cast<long long>(stored) * a.columns;
  Y* const out = static_cast<Y*>(a.out) + static_cast<long long>(row) * a.columns;
  float* const values = reinterpret_cast<float*>(shared_memory());
  RowTeam<true> team{values + (a.columns + 7) / 8 * 8};
  for (int c = team.thread(); c < a.columns; c += team.size()) values[c] = to_float(in[c]);
  const float norm = a.hadamard ? turn_row(team, values, a.columns, a.hadamard) : 1.f;
  team.barrier();
  float most = 0.f;
  bool bad = false;
  for (int c = 2 * team.thread(); c < a.columns; c += 2 * team.size()) {
    const float x = values[c] * norm, y = c + 1 < a.columns ? values[c + 1] * norm : 0.f;
    bad = bad || !(fabsf(x) <= 3.4028235e38f) || !(fabsf(y) <= 3.4028235e38f);
    most = fmaxf(most, fmaxf(fabsf(x), fabsf(y)));
    if (a.pairs && c + 1 < a.columns && (bits_of(x) ^ bits_of(y)) >> 31 == 0) most = fmaxf(most, fabsf(x + y));
  }
  most = team.max(most);
  bad = team.max(bad || !(most <= 3.4028235e38f) ? 1.f : 0.f) > 0.f;
  const float scale = most / largest_of(Y{}), inverse = !bad && scale > 1e-38f ? 1.f / scale : 0.f;
  for (int c = team.thread(); c < a.columns; c += team.size()) narrow(bad ? 0.f : values[c] * norm * inverse, out[c]);
  if (team.thread() == 0) a.scales[a.scales_follow ? row : stored] = bad ? float_of(0x7fc00000u) : scale;
}

}  // namespace vivace::cuda
