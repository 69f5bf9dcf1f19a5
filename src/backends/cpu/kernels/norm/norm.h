// Normalisation over NHWC activations and over rows: statistics and arithmetic in float32 (partial sums combined in double), any of float32,
// bfloat16 and float16 in and out. Nothing allocates or throws; outputs may alias the input of the same dtype and stride exactly.
#pragma once

#include "backends/cpu/kernels/activation.h"
#include "backends/cpu/kernels/norm/quantize.h"

namespace vivace::cpu {

// x: [images, pixels, channels], `x.stride` elements between pixels (>= channels), images follow each other: pixels * x.stride apart.
// channels is a multiple of groups.
struct GroupNorm {
  RowInput x;
  int64_t images = 1, pixels = 0, channels = 0, groups = 1;
  const float* gamma = nullptr;  // [channels]; null: 1
  const float* beta = nullptr;   // [channels]; null: 0
  float eps = 1e-5f;
};

// y = act((x - mean) / sqrt(variance + eps) * gamma + beta), the statistics per image and group. act: none or silu. y: a float dtype.
void group_norm(const GroupNorm& norm, Act act, const RowOutput& y) noexcept;
// The same norm as an affine map per image and channel, x * scale + shift, both [images, channels]: for a convolution that applies it.
void group_norm_stats(const GroupNorm& norm, float* scale, float* shift) noexcept;
// y = act(x * scale + shift) with [images, channels] arrays. act: none or silu. y: a float dtype.
void scale_shift(const RowInput& x, int64_t images, int64_t pixels, int64_t channels, const float* scale, const float* shift, Act act,
                 const RowOutput& y) noexcept;

// Row r is turned by row r % tokens of the table [tokens, channels], pair after pair: (x0, x1) (cos, sin) -> (x0 cos - x1 sin, x1 cos + x0 sin).
struct Rotation {
  const float* table = nullptr;  // null: none
  int64_t tokens = 1;
};

// Norm of each row of [rows, channels].
struct RowNorm {
  RowInput x;
  RowInput residual;  // data null: none; else x + residual is normalised (the float32 sum, not `sum` after its rounding)
  RowOutput sum;      // data null: not wanted; else x + residual goes here, in a float dtype
  int64_t rows = 0, channels = 0;
  const float* gamma = nullptr;  // [channels]; null: 1
  const float* beta = nullptr;   // [channels]; null: 0
  float eps = 1e-5f;
  int64_t heads = 1;  // above 1: a row is so many parts of `channels` elements, each normalised as a row of its own; y is a float dtype, no sum
  Rotation rotation;  // of the result; y is a float dtype
};

// (v - mean) / sqrt(variance + eps) * gamma + beta. Return kNoBadRow or the lowest row that could not be quantised (see RowOutput).
int64_t layer_norm(const RowNorm& norm, const RowOutput& y) noexcept;
// v / sqrt(mean of v^2 + eps) * gamma + beta.
int64_t rms_norm(const RowNorm& norm, const RowOutput& y) noexcept;
// The rotation alone, of each head of [rows, heads * channels].
void rotate(const RowInput& x, int64_t rows, int64_t heads, int64_t channels, const Rotation& rotation, const RowOutput& y) noexcept;

}  // namespace vivace::cpu
