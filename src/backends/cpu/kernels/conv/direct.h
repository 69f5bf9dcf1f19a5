// Implicit GEMM: a block of output pixels is a GEMM whose rows are patch pixels and whose reduction walks the taps of the kernel; nothing is
// copied per tap. With upsampling, the four phases of a 2x2 output square are four such GEMMs over the small image.
#pragma once

#include "backends/cpu/kernels/conv/io.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

void direct_prepare(const ConvJob& job, int64_t index, int64_t chunk_begin, int64_t chunk_end, void* input, void*) {
  const ConvPlan& plan = job.plan;
  const BlockGrid::Block block = plan.grid.block(index);
  const int stride = job.spec.stride, kernel = job.spec.kernel;
  // An upsampled image's padding is one large pixel, of which the small image sees the same one pixel.
  const Patch patch{block.image, block.row * stride - job.spec.pad.top, block.col * stride - job.spec.pad.left, (block.rows - 1) * stride + kernel,
                    (block.cols - 1) * stride + kernel};
  const ptrdiff_t pixel_stride = plan.pixel_units * kElementsPerUnit;
  for (int64_t chunk = chunk_begin; chunk < chunk_end; ++chunk)
    load_patch(job, patch, chunk * kPanel, static_cast<Element*>(input) + chunk * kPanel, plan.patch_cols * pixel_stride, pixel_stride);
}

// Offsets of a phase's taps from an output pixel's corner of the patch, in units.
VIVACE_INLINE void tap_offsets(const ConvPlan& plan, int phase, int kernel, ptrdiff_t (&taps)[9]) {
  const ptrdiff_t pixel = plan.pixel_units, row = plan.patch_cols * pixel;
  const int side = plan.phases == 1 ? kernel : 2, down = phase / 2, right = phase % 2;
  for (int t = 0; t < plan.taps; ++t) taps[t] = (t / side + down) * row + (t % side + right) * pixel;
}

// `count` weights from element `at` on as the register tile multiplies them: in place, or widened into `wide`.
VIVACE_INLINE const Unit* tile_weights(const ConvJob& job, int64_t at, int64_t count, float* wide) {
  if (kElementsPerUnit > 1 || job.spec.w == DType::float32) return static_cast<const Unit*>(job.packed) + at;
  const uint16_t* packed = static_cast<const uint16_t*>(job.packed) + at;
  for (int64_t i = 0; i < count; i += kLanes) StoreU(load_half(packed + i, job.spec.w), wide + i);
  return wide;
}

void direct_multiply(const ConvJob& job, int64_t index, int64_t panel, const void* input, const void*, void* scratch) {
  const ConvPlan& plan = job.plan;
  const BlockGrid::Block block = plan.grid.block(index);
  const int64_t units = (job.spec.in_channels + kElementsPerUnit - 1) / kElementsPerUnit;
  const int64_t out_rows = conv_out_h(job.spec, job.args.h), out_cols = conv_out_w(job.spec, job.args.w);
  const ptrdiff_t pixel = plan.pixel_units * job.spec.stride, row = plan.patch_cols * pixel;
  const RowSplit split(block.cols, kMaxRows);
  const Finisher finisher(job, block.image, panel);
  const TileScope scope;
  auto* sums = static_cast<float*>(scratch);
  float* wide = sums + plan.sum_bytes / sizeof(float);
  const int step = plan.phases == 1 ? 1 : 2;  // output pixels from one cell to the next
  for (int phase = 0; phase < plan.phases; ++phase) {
    ptrdiff_t taps[9];
    tap_offsets(plan, phase, job.spec.kernel, taps);
    const int64_t first_tap = (panel * plan.phases + phase) * plan.taps;
    for (int tap = 0; tap < plan.taps; tap += plan.taps_at_once) {
      const int tap_count = plan.taps - tap < plan.taps_at_once ? plan.taps - tap : plan.taps_at_once;
      const bool last = tap + tap_count == plan.taps;
      const Unit* weights = tile_weights(job, (first_tap + tap) * units * kPanel, tap_count * units * kPanel, wide);
      for (int64_t r = 0; r < block.rows; ++r) {
        for (int64_t tile = 0; tile < split.count; ++tile) {
          const int64_t col = split.begin(tile), cols = split.size(tile);
          float* tile_sums = sums + (r * block.cols + col) * kPanel;
          multiply_tile(cols,
                        {static_cast<const Unit*>(input) + r * row + col * pixel, pixel, taps + tap, tap_count, units, weights, tile_sums, tap > 0});
          if (!last) continue;
          const int64_t y = (block.row + r) * step + phase / 2, x = (block.col + col) * step + phase % 2;
          const int64_t first = (block.image * out_rows + y) * out_cols + x;
          for (int64_t c = 0; c < cols; ++c)
            for (int v = 0; v < 2; ++v) finisher.store(first + c * step, v, LoadU(tile_sums + c * kPanel + v * kLanes));
        }
      }
    }
  }
}

inline constexpr ConvSteps kDirectSteps{direct_prepare, nullptr, direct_multiply};

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
