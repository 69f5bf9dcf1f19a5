// The two ends of every convolution: reading a patch of the input (padding, widening), and finishing sums into the output.
#pragma once

#include "backends/cpu/kernels/conv/plan.h"
#include "backends/cpu/kernels/conv/tile.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

// A rectangle of an image, which may reach beyond its edges.
struct Patch {
  int64_t image, row, col, rows, cols;
};

VIVACE_INLINE void store_patch(VF v, float* p) { StoreU(v, p); }
VIVACE_INLINE void store_patch(VF v, uint16_t* p) { store_bf16_flushed(v, p); }

// Channels [channel, channel + kPanel) of a patch to out[row * row_stride + col * pixel_stride + 0 .. kPanel); zeros beyond the image and beyond
// its channels.
template <class Out>
void load_patch(const ConvJob& job, const Patch& patch, int64_t channel, Out* out, ptrdiff_t row_stride, ptrdiff_t pixel_stride) {
  const ConvArgs& args = job.args;
  const DType dtype = job.spec.act;
  const int depth = job.spec.depth;
  int64_t image = patch.image;
  if (depth > 1) {
    const int64_t channels = job.spec.in_channels / depth, frame = channel / channels;  // a panel never lies in two frames
    image += image / args.frames * (depth - 1) + frame;
    channel -= frame * channels;
  }
  const int64_t count = job.frame_channels - channel;
  const VF zero = Zero();
  const int64_t left = patch.col < 0 ? -patch.col : 0;  // columns before the image
  const int64_t inside = args.w - patch.col < patch.cols ? args.w - patch.col : patch.cols;
  for (int64_t r = 0; r < patch.rows; ++r) {
    Out* row = out + r * row_stride;
    const int64_t y = patch.row + r;
    const bool row_inside = y >= 0 && y < args.h;
    const int64_t begin = row_inside && left < inside ? left : patch.cols, end = begin < patch.cols ? inside : patch.cols;
    for (int64_t c = 0; c < patch.cols; ++c) {
      if (c == begin) c = end;  // the image's own columns come below
      if (c == patch.cols) break;
      store_patch(zero, row + c * pixel_stride);
      store_patch(zero, row + c * pixel_stride + kLanes);
    }
    const int64_t first = ((image * args.h + y) * args.w + patch.col) * args.ldx + channel;
    for (int64_t c = begin; c < end; ++c) {
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v)
        store_patch(load_row(args.x, dtype, first + c * args.ldx + v * kLanes, count - v * kLanes), row + c * pixel_stride + v * kLanes);
    }
  }
}

// Bias, activation, residual and rounding of one panel of an image.
class Finisher {
 public:
  Finisher(const ConvJob& job, int64_t image, int64_t panel) : args_(job.args), dtype_(job.spec.act), channel_(panel * kPanel) {
    count_ = job.spec.out_channels - channel_;
    for (int v = 0; v < 2; ++v) {
      bias_[v] = Zero();
      if (args_.bias) bias_[v] = load_row(args_.bias, DType::float32, channel_ + v * kLanes, count_ - v * kLanes);
      if (args_.image_bias) {
        const int64_t at = image * args_.ld_image_bias + channel_ + v * kLanes;
        bias_[v] = bias_[v] + load_row(args_.image_bias, DType::float32, at, count_ - v * kLanes);
      }
    }
  }

  // Vector v (0 or 1) of the panel at `pixel`, which counts through all images of y.
  VIVACE_INLINE void store(int64_t pixel, int v, VF sum) const {
    const int64_t count = count_ - v * kLanes, at = channel_ + v * kLanes;
    VF y = activate(sum + bias_[v], args_.activation);
    if (args_.residual) y = y + load_row(args_.residual, dtype_, pixel * args_.ld_residual + at, count);
    store_row(y, args_.y, dtype_, pixel * args_.ldy + at, count);
  }

 private:
  const ConvArgs& args_;
  const DType dtype_;
  const int64_t channel_;
  int64_t count_;  // output channels from channel_ on
  VF bias_[2];
};

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
