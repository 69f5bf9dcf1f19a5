// Winograd convolution on NHWC: every tile's input is transformed into `pos` x `pos` positions, each position is one GEMM (tiles x channels times
// channels x outputs), and the products are transformed back. Sums and transforms are float32; the GEMM's factors are the compute dtype.
#pragma once

#include "backends/cpu/kernels/conv/io.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

// The one-dimensional transforms, applied to columns and then rows. See WinogradShape for the numbers; weights() is its weight_transform.
struct WinogradF2 {
  static constexpr const WinogradShape& shape = kWinogradF2;
  static VIVACE_INLINE void input(const VF* d, VF* v) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[1] - d[3];
  }
  static VIVACE_INLINE void output(const VF* m, VF* y) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] - m[3];
  }
  static VIVACE_INLINE void weights(const VF* g, VF* u) {
    const VF even = (g[0] + g[2]) * Set(.5f), odd = g[1] * Set(.5f);
    u[0] = g[0];
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = g[2];
  }
};

// Points 0, 1, -1, 2, -2, infinity.
struct WinogradF4 {
  static constexpr const WinogradShape& shape = kWinogradF4;
  static VIVACE_INLINE void input(const VF* d, VF* v) {
    const VF even1 = MulAdd(d[2], Set(-4.f), d[4]), odd1 = MulAdd(d[1], Set(-4.f), d[3]);
    const VF even2 = d[4] - d[2], odd2 = (d[3] - d[1]) * Set(2.f);
    v[0] = MulAdd(d[0], Set(4.f), MulAdd(d[2], Set(-5.f), d[4]));
    v[1] = even1 + odd1;
    v[2] = even1 - odd1;
    v[3] = even2 + odd2;
    v[4] = even2 - odd2;
    v[5] = MulAdd(d[1], Set(4.f), MulAdd(d[3], Set(-5.f), d[5]));
  }
  static VIVACE_INLINE void output(const VF* m, VF* y) {
    const VF sum1 = m[1] + m[2], difference1 = m[1] - m[2], sum2 = m[3] + m[4], difference2 = m[3] - m[4];
    y[0] = m[0] + sum1 + sum2;
    y[1] = MulAdd(difference2, Set(2.f), difference1);
    y[2] = MulAdd(sum2, Set(4.f), sum1);
    y[3] = MulAdd(difference2, Set(8.f), difference1) + m[5];
  }
  static VIVACE_INLINE void weights(const VF* g, VF* u) {
    const VF even1 = (g[0] + g[2]) * Set(-1.f / 6), even2 = MulAdd(g[0], Set(1.f / 24), g[2] * Set(1.f / 6));
    u[0] = g[0] * Set(.25f);
    u[1] = MulAdd(g[1], Set(-1.f / 6), even1);
    u[2] = MulAdd(g[1], Set(1.f / 6), even1);
    u[3] = MulAdd(g[1], Set(1.f / 12), even2);
    u[4] = MulAdd(g[1], Set(-1.f / 12), even2);
    u[5] = g[2];
  }
};

struct WinogradUpsample {
  static constexpr const WinogradShape& shape = kWinogradUpsample;
  static VIVACE_INLINE void input(const VF* d, VF* v) {
    v[0] = d[0] - d[1];
    v[1] = d[1];
    v[2] = d[1] - d[2];
  }
  static VIVACE_INLINE void output(const VF* m, VF* y) {
    y[0] = m[0] + m[1];
    y[1] = m[1] - m[2];
  }
  static VIVACE_INLINE void weights(const VF* g, VF* u) {
    u[0] = g[0];
    u[1] = g[0] + g[1] + g[2];
    u[2] = g[2];
  }
};

// V = B^T d B of a tile whose first pixel is `corner`, a vector of channels of it: store(position, values).
template <class Transform, class Store>
VIVACE_INLINE void transform_input(const float* corner, ptrdiff_t row_stride, ptrdiff_t pixel_stride, const Store& store) {
  constexpr WinogradShape shape = Transform::shape;
  VF half[shape.in][shape.pos];  // columns transformed: [column][position]
#pragma GCC unroll 6
  for (int j = 0; j < shape.in; ++j) {
    VF d[shape.in];
#pragma GCC unroll 6
    for (int i = 0; i < shape.in; ++i) d[i] = LoadU(corner + i * row_stride + j * pixel_stride);
    Transform::input(d, half[j]);
  }
#pragma GCC unroll 6
  for (int i = 0; i < shape.pos; ++i) {
    VF d[shape.in], result[shape.pos];
#pragma GCC unroll 6
    for (int j = 0; j < shape.in; ++j) d[j] = half[j][i];
    Transform::input(d, result);
#pragma GCC unroll 6
    for (int j = 0; j < shape.pos; ++j) store(i * shape.pos + j, result[j]);
  }
}

// What a block of tiles reads.
VIVACE_INLINE Patch winograd_patch(const WinogradShape& shape, const ConvJob& job, const BlockGrid::Block& block) {
  return {block.image, block.row * shape.in_step - job.spec.pad.top, block.col * shape.in_step - job.spec.pad.left,
          (block.rows - 1) * shape.in_step + shape.in, (block.cols - 1) * shape.in_step + shape.in};
}

template <class Transform>
void winograd_prepare(const ConvJob& job, int64_t index, int64_t chunk_begin, int64_t chunk_end, void* input, void* scratch) {
  constexpr WinogradShape shape = Transform::shape;
  const ConvPlan& plan = job.plan;
  const BlockGrid::Block block = plan.grid.block(index);
  const Patch patch = winograd_patch(shape, job, block);
  const ptrdiff_t row_stride = plan.patch_cols * kPanel, position_stride = plan.position_units * kElementsPerUnit;
  auto* pixels = static_cast<float*>(scratch);
  for (int64_t chunk = chunk_begin; chunk < chunk_end; ++chunk) {
    load_patch(job, patch, chunk * kPanel, pixels, row_stride, kPanel);
    for (int64_t ty = 0; ty < block.rows; ++ty) {
      for (int64_t tx = 0; tx < block.cols; ++tx) {
        Element* tile = static_cast<Element*>(input) + (ty * block.cols + tx) * plan.tile_units * kElementsPerUnit + chunk * kPanel;
        for (int v = 0; v < kPanel; v += kLanes) {
          const float* corner = pixels + ty * shape.in_step * row_stride + tx * shape.in_step * kPanel + v;
          transform_input<Transform>(
              corner, row_stride,
              kPanel, [&](int position, VF values) __attribute__((always_inline)) { store_elements(values, tile + position * position_stride + v); });
        }
      }
    }
  }
}

// y from the products [position][tile][channel of the panel], which `scales`, [position][channel of the panel], are multiplied with first.
template <class Transform, bool kScaled>
void winograd_finish(const ConvJob& job, const BlockGrid::Block& block, int64_t panel, const float* sums, const float* scales) {
  constexpr WinogradShape shape = Transform::shape;
  const ConvPlan& plan = job.plan;
  const int64_t cells = block.rows * block.cols;
  const Finisher finisher(job, block.image, panel);
  const int64_t out_rows = conv_out_h(job.spec, job.args.h), out_cols = conv_out_w(job.spec, job.args.w);
  for (int64_t cell = 0; cell < cells; ++cell) {
    const int64_t row = (block.row + cell / block.cols) * shape.out, col = (block.col + cell % block.cols) * shape.out;
    const int64_t pixel = (block.image * out_rows + row) * out_cols + col;
    for (int v = 0; v < 2; ++v) {
      const float* products = sums + cell * kPanel + v * kLanes;
      VF half[shape.pos][shape.out];
#pragma GCC unroll 6
      for (int j = 0; j < shape.pos; ++j) {
        VF m[shape.pos];
#pragma GCC unroll 6
        for (int i = 0; i < shape.pos; ++i) {
          m[i] = LoadU(products + (i * shape.pos + j) * plan.sum_stride);
          if constexpr (kScaled) m[i] = m[i] * LoadU(scales + (i * shape.pos + j) * kPanel + v * kLanes);
        }
        Transform::output(m, half[j]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < shape.out; ++i) {
        VF m[shape.pos], y[shape.out];
#pragma GCC unroll 6
        for (int j = 0; j < shape.pos; ++j) m[j] = half[j][i];
        Transform::output(m, y);
        if (row + i >= out_rows) continue;
#pragma GCC unroll 4
        for (int j = 0; j < shape.out; ++j)
          if (col + j < out_cols) finisher.store(pixel + i * out_cols + j, v, y[j]);
      }
    }
  }
}

template <class Transform>
void winograd_multiply(const ConvJob& job, int64_t index, int64_t panel, const void* input, const void*, void* scratch) {
  constexpr WinogradShape shape = Transform::shape;
  constexpr int positions = shape.pos * shape.pos;
  const ConvPlan& plan = job.plan;
  const BlockGrid::Block block = plan.grid.block(index);
  const int64_t units = (job.spec.in_channels + kElementsPerUnit - 1) / kElementsPerUnit, cells = block.rows * block.cols;
  auto* sums = reinterpret_cast<float*>(static_cast<char*>(scratch) + plan.patch_bytes);
  const Unit* weights = static_cast<const Unit*>(job.packed) + panel * positions * units * kPanel;
  const RowSplit split(cells, kMaxRows);
  const TileScope scope;
  const ptrdiff_t no_offset = 0;
  for (int p = 0; p < positions; ++p) {
    const Unit* a = static_cast<const Unit*>(input) + p * plan.position_units;
    for (int64_t tile = 0; tile < split.count; ++tile) {
      multiply_tile(split.size(tile), {a + split.begin(tile) * plan.tile_units, plan.tile_units, &no_offset, 1, units, weights + p * units * kPanel,
                                       sums + p * plan.sum_stride + split.begin(tile) * kPanel, false});
    }
  }
  winograd_finish<Transform, false>(job, block, panel, sums, nullptr);
}

template <class Transform>
inline constexpr ConvSteps kWinogradSteps{winograd_prepare<Transform>, nullptr, winograd_multiply<Transform>};

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
