// The loops of the norm family, one table an instruction set. They work on ranges of rows on the calling thread; norm.cc, softmax.cc and
// quantize.cc share the work out.
#pragma once

#include "backends/cpu/kernels/elementwise/elementwise.h"
#include "backends/cpu/kernels/norm/norm.h"
#include "backends/cpu/kernels/vecmath/isa.h"

namespace vivace::cpu {

// channel_moments takes at most so many channels at once: its sums live on the stack, in the first-level cache.
inline constexpr int64_t kChannelTile = 1024;

// Channels of a SpatialModulation at one pixel of z, over the affine map of the norm.
struct ModulatedMap {
  const void* z;  // of `inputs` elements
  DType dtype;
  int64_t inputs, stride;  // floats between the rows of scale and shift
  const float *scale, *scale_bias, *shift, *shift_bias;
  const float *norm_scale, *norm_shift;
};

struct NormKernels {
  // mean[c] and m2[c] (the sum of squared deviations) of `rows` rows, channels <= kChannelTile.
  void (*channel_moments)(const RowInput& x, int64_t rows, int64_t channels, double* mean, double* m2);
  // y = act(x * scale[c] + shift[c]).
  void (*scale_shift)(const RowInput& x, int64_t rows, int64_t channels, const float* scale, const float* shift, Act act, const RowOutput& y);
  // Both maps as one: of `channels` channels.
  void (*modulate)(const ModulatedMap& map, int64_t channels, float* scale, float* shift);
  // Rows [begin, end); return the first bad row or kNoBadRow.
  int64_t (*row_norm)(const RowNorm& norm, bool rms, const RowOutput& y, int64_t begin, int64_t end);
  // Rows of heads, each a norm of its own of at most kLongestHead channels, rotated where the norm says so. y is a float dtype.
  void (*head_norm)(const RowNorm& norm, bool rms, const RowOutput& y, int64_t begin, int64_t end);
  void (*rotate)(const RowInput& x, int64_t channels, const Rotation& rotation, const RowOutput& y, int64_t begin, int64_t end);
};

struct RowKernels {
  int64_t (*quantize_rows)(const RowInput& x, int64_t channels, const RowOutput& y, int64_t begin, int64_t end);
  int64_t (*gated_rows)(const GatedRows& gated, const RowOutput& y, int64_t begin, int64_t end);
  void (*turn_blocks)(const float* values, int64_t count, int64_t block, float* to);
  void (*softmax_rows)(const RowInput& x, int64_t channels, float scale, const RowOutput& y, int64_t begin, int64_t end);
};

namespace baseline {
extern const NormKernels kNormKernels;
extern const RowKernels kRowKernels;
}  // namespace baseline
namespace avx2 {
extern const NormKernels kNormKernels;
extern const RowKernels kRowKernels;
}  // namespace avx2
namespace avx512 {
extern const NormKernels kNormKernels;
extern const RowKernels kRowKernels;
}  // namespace avx512
namespace avx512_bf16 {
extern const NormKernels kNormKernels;
extern const RowKernels kRowKernels;
}  // namespace avx512_bf16

inline const NormKernels& norm_kernels() {
  return of_isa(baseline::kNormKernels, avx2::kNormKernels, avx512::kNormKernels, avx512_bf16::kNormKernels);
}
inline const RowKernels& row_kernels() { return of_isa(baseline::kRowKernels, avx2::kRowKernels, avx512::kRowKernels, avx512_bf16::kRowKernels); }

}  // namespace vivace::cpu
