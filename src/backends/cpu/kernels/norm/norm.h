// Normalisation over NHWC activations and over rows: statistics and arithmetic in float32 (partial sums combined in double), any of float32,
// bfloat16 and float16 in and out. Nothing allocates or throws; outputs may alias the input of the same dtype and stride exactly.
// What is stopped leaves its output unfinished.
#pragma once

#include "backends/cpu/kernels/activation.h"
#include "backends/cpu/kernels/norm/quantize.h"
#include "base/stop.h"

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
void group_norm(const GroupNorm& norm, Act act, const RowOutput& y, Stop stop = nullptr) noexcept;

// Besides, every pixel is scaled and shifted by what a linear map makes of the pixel of a smaller video that it stands over: z [images, frames,
// height, width, inputs]. The norm's images have out_frames x out_height x out_width pixels; frames before `apart` stand for one frame each, those
// behind for (out_frames - apart) / (frames - apart).
struct SpatialModulation {
  RowInput z;
  int64_t frames = 0, height = 0, width = 0, inputs = 0, apart = 0;
  int64_t out_frames = 0, out_height = 0, out_width = 0;
  const float *scale = nullptr, *scale_bias = nullptr;  // [inputs, channels], [channels]
  const float *shift = nullptr, *shift_bias = nullptr;
};
inline constexpr int64_t kSpatialGroups = 1024, kSpatialInputs = 64;  // at most

// y = act(group_norm(x) * (z scale + scale_bias) + z shift + shift_bias). act: none or silu.
void spatial_norm(const GroupNorm& norm, const SpatialModulation& modulation, Act act, const RowOutput& y, Stop stop = nullptr) noexcept;

// Row r is turned by row r % tokens of the table [tokens, channels], pair after pair: (x0, x1) (cos, sin) -> (x0 cos - x1 sin, x1 cos + x0 sin).
struct Rotation {
  const float* table = nullptr;  // null: none
  int64_t tokens = 1;
};

// Channels of a head that is normed on its own, or rotated in the same trip, at most.
inline constexpr int64_t kLongestHead = 2048;

// Norm of each row of [rows, channels].
struct RowNorm {
  RowInput x;
  int64_t rows = 0, channels = 0;
  const float* gamma = nullptr;  // [channels]; null: 1
  const float* beta = nullptr;   // [channels]; null: 0
  float eps = 1e-5f;
  // Above 1: a row is so many parts of `channels` elements, each normalised as a row of its own. With heads or a rotation y is a float dtype and
  // channels at most kLongestHead.
  int64_t heads = 1;
  Rotation rotation;  // of the result
  // Above 0: every image of so many rows has a gamma and a beta of its own, so many floats behind those of the image before. One head, no rotation.
  int64_t rows_per_image = 0, gamma_stride = 0, beta_stride = 0;
};

// (v - mean) / sqrt(variance + eps) * gamma + beta. Return kNoBadRow or the lowest row that could not be quantised (see RowOutput).
int64_t layer_norm(const RowNorm& norm, const RowOutput& y, Stop stop = nullptr) noexcept;
// v / sqrt(mean of v^2 + eps) * gamma + beta.
int64_t rms_norm(const RowNorm& norm, const RowOutput& y, Stop stop = nullptr) noexcept;
// The rotation alone, of each head of [rows, heads * channels].
void rotate(const RowInput& x, int64_t rows, int64_t heads, int64_t channels, const Rotation& rotation, const RowOutput& y,
            Stop stop = nullptr) noexcept;

}  // namespace vivace::cpu
