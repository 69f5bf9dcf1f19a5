// Convolutions of our own for the CPU: Winograd, implicit GEMM, and a nearest 2x upsampling folded into the 3x3 convolution after it.
// Activations are NHWC, weights arrive as [out_channels, in_channels, depth, kernel, kernel] and are packed once. A convolution over several frames
// is one over a picture that has the channels of all of them: nothing is copied, and sums over frames are rounded as those over channels are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "backends/cpu/isa.h"
#include "backends/cpu/kernels/activation.h"
#include "base/stop.h"
#include "vivace/dtype.h"

namespace vivace::cpu {

struct ConvPadding {
  int top = 0, left = 0, bottom = 0, right = 0;
};

// How the work is cut (plan.h); the result is the same up to the order of sums.
struct ConvBlocking {
  int cache_kib = 0;  // what a block's prepared input may take; 0: the default
  int shared =
      -1;  // 1: all blocks are prepared first, for all threads; 0: each thread prepares its own; -1: by the shape, as int16 with large weights always
};

// What a convolution is, known before any tensor is.
struct ConvSpec {
  int64_t in_channels = 0, out_channels = 0;
  int kernel = 3;  // 1 or 3, square
  int depth = 1;   // frames of a video that an output pixel sees: of a frame and those behind it
  int stride = 1;  // 1 or 2
  ConvPadding pad;
  DType act = DType::float32;      // of x, y and residual: float32, bfloat16 or float16
  DType compute = DType::float32;  // of the multiplications: float32 or bfloat16; sums are float32 always
  // How direct and phase kernels with float32 products, and Winograd with int16, keep the packed weights: float32, or bfloat16 or float16, widened
  // block by block. The others, whose transforms would be rounded or whose products are bfloat16, keep them as they multiply them.
  DType w = DType::float32;
  bool upsample2x = false;  // nearest 2x before the convolution; the padding is that of the upsampled image
  ConvBlocking blocking{};
};

// y = activation(conv(x) + bias + image_bias) + residual
struct ConvArgs {
  const void* x = nullptr;  // [n, h, w, in_channels] of spec.act; pixels are ldx elements apart, so x may be a slice of wider pixels
  int64_t n = 1, h = 0, w = 0, ldx = 0;
  int64_t frames = 1;  // of y in a video, where spec.depth is above 1: n counts those of all videos; x has depth - 1 frames more a video
  void* y = nullptr;   // [n, conv_out_h, conv_out_w, out_channels] of spec.act, pixels ldy elements apart; must not overlap x
  int64_t ldy = 0;
  const float* bias = nullptr;        // [out_channels] or none
  const float* image_bias = nullptr;  // [n, out_channels], added to every pixel of an image (the time embedding), or none; rows ld_image_bias apart
  int64_t ld_image_bias = 0;
  const void* residual = nullptr;  // like y, pixels ld_residual elements apart, or none; may be y itself
  int64_t ld_residual = 0;
  Act activation = Act::none;
  Stop stop = nullptr;
};

struct ConvPlan;

int64_t conv_out_h(const ConvSpec& spec, int64_t h);
int64_t conv_out_w(const ConvSpec& spec, int64_t w);

// One way to compute a convolution. refuse() is asked first; everything else assumes it had no reason.
struct ConvKernel {
  std::string_view name;
  bool winograd, int16;  // Winograd's transforms; factors of int16
  // One line: why this kernel cannot compute `spec` on `isa`; nothing when it can.
  std::optional<std::string> (*refuse)(const ConvSpec& spec, Isa isa);
  size_t (*packed_bytes)(const ConvSpec& spec, Isa isa);
  // `weight` is contiguous, of any floating dtype; `packed` is 64-byte aligned and read by run() with the same spec and isa.
  void (*pack)(const ConvSpec& spec, Isa isa, const void* weight, DType dtype, void* packed, Stop stop);
  // Everything that images of that size and so many threads decide (plan.h); of the same spec and isa.
  ConvPlan (*plan)(const ConvSpec& spec, Isa isa, int64_t n, int64_t h, int64_t w, int threads);
  // On at most the plan's threads. `workspace` is 64-byte aligned, of plan.workspace_bytes(); its contents do not matter.
  void (*run)(const ConvSpec& spec, Isa isa, const ConvPlan& plan, const void* packed, const ConvArgs& args, void* workspace) noexcept;
  // Relative RMS error to expect where factors and sums are all that is rounded (computed for uniform numbers by tests/kernels/conv_error_test.cc,
  // level by level): the factors' share is the same for any number of channels, the float32 sums' grows with its square root.
  double (*error)(const ConvSpec& spec);
};

// Input channels that share a scale where products are of int16, filled up to whole blocks. Longer ones have coarser steps (int16_row.h), shorter
// ones are put aside more often.
inline constexpr int kConvInt16Block = 64;

// winograd_f2_*: F(2x2, 3x3), 2.25x fewer multiplications. In bf16 the error is 5/3 that of a direct convolution; in float32 as good as exact.
// winograd_f4_f32: F(4x4, 3x3), 4x fewer, at about four times a direct convolution's rounding error.
// winograd_*_int16: factors of int16 (winograd_int16.h), twice as many products at once as of float32: F(2x2) and the upsampling at a tenth of a
// bfloat16 result's rounding, F(4x4) at half of it. winograd_upsample_*: F(2x2, 3x3) of an upsampled image, where 7 of 16 products vanish: 4x fewer
// than convolving the large image. upsample_phases_*: four 2x2 convolutions of the small image with pre-summed weights: 2.25x fewer, exact up to
// rounding. direct_*: implicit GEMM.
// *_bf16 need Isa::avx512_bf16; *_f32 and *_int16 run from Isa::avx2.
std::span<const ConvKernel> conv_kernels();

}  // namespace vivace::cpu
