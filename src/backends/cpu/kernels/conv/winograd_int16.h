// Winograd convolution with products of int16: the transformed input in blocks of kBlock channels that have a scale each (int16_row.h), for every
// tile and position; the transformed weights with a scale for each output channel and position. A block's sums are int32, the sums of blocks float32.
// The weights are kept as taps, for F(4x4) a quarter of what they are once transformed, and transformed panel by panel.
#pragma once

#include "backends/cpu/kernels/conv/winograd.h"
#include "backends/cpu/kernels/int16_row.h"
#ifdef __AVX512F__
#include "backends/cpu/kernels/microkernel_avx512.h"
#else
#include "backends/cpu/kernels/microkernel_avx2.h"
#endif

namespace vivace::cpu::VIVACE_SIMD {
namespace {

inline constexpr int kBlock = kConvInt16Block, kBlockUnits = kBlock / 2;

// kBlock values as int16; returns their scale.
VIVACE_INLINE float store_block(const float* values, int16_t* to) {
  VF squares[2] = {Zero(), Zero()};
  VI largest = Set(0);
#pragma GCC unroll 8
  for (int i = 0; i < kBlock; i += kLanes) {
    const VF x = LoadU(values + i);
    squares[i / kLanes % 2] = MulAdd(x, x, squares[i / kLanes % 2]);
    largest = Max(largest, BitCast(Abs(x)));
  }
  const Int16Row row({ReduceMax(largest), ReduceSum(squares[0] + squares[1])}, kBlock);
  const VF inverse = Set(row.inverse);
#pragma GCC unroll 4
  for (int i = 0; i < kBlock; i += 16) store_int16([&](int at) { return LoadU(values + i + at) * inverse; }, to + i);
  return row.scale;
}

template <class Transform>
void winograd_prepare_int16(const ConvJob& job, int64_t index, int64_t chunk_begin, int64_t chunk_end, void* input, void* scratch) {
  constexpr WinogradShape shape = Transform::shape;
  constexpr int positions = shape.pos * shape.pos;
  const ConvPlan& plan = job.plan;
  const BlockGrid::Block block = plan.grid.block(index);
  const Patch patch = winograd_patch(shape, job, block);
  const ptrdiff_t row_stride = plan.patch_cols * kBlock, most_cells = plan.grid.block_rows * plan.grid.block_cols;
  auto* pixels = static_cast<float*>(scratch);
  auto* scales = reinterpret_cast<float*>(static_cast<char*>(input) + plan.scales_at);
  for (int64_t chunk = chunk_begin; chunk < chunk_end; ++chunk) {
    for (int c = 0; c < kBlock; c += kPanel) load_patch(job, patch, chunk * kBlock + c, pixels + c, row_stride, kBlock);
    for (int64_t cell = 0; cell < block.rows * block.cols; ++cell) {
      const float* corner = pixels + cell / block.cols * shape.in_step * row_stride + cell % block.cols * shape.in_step * kBlock;
      alignas(64) float values[positions][kBlock];
      for (int c = 0; c < kBlock; c += kLanes)
        transform_input<Transform>(
            corner + c, row_stride, kBlock, [&](int position, VF v) __attribute__((always_inline)) { StoreU(v, values[position] + c); });
      Unit* tile = static_cast<Unit*>(input) + cell * plan.tile_units + chunk * kBlockUnits;
      for (int p = 0; p < positions; ++p)
        scales[(p * most_cells + cell) * plan.chunks + chunk] = store_block(values[p], reinterpret_cast<int16_t*>(tile + p * plan.position_units));
    }
  }
}

// sums[rows][kPanel] = sum over blocks of scales[row * blocks + block] * (a[row] x b in that block)
template <int rows>
void multiply_blocks(const Unit* a, ptrdiff_t stride, const float* scales, int64_t blocks, const Unit* b, float* sums) {
  for (int64_t block = 0; block < blocks; ++block) {
    VI acc[rows][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) acc[i][0] = acc[i][1] = Set(0);
    // As in tile.h: five pointers, each serving three rows.
    const Unit *a0 = a, *a3 = a0 + 3 * stride, *a6 = a3 + 3 * stride, *a9 = a6 + 3 * stride, *a12 = a9 + 3 * stride;
    const auto multiply = [&](int unit) __attribute__((always_inline)) {
      const VI b0 = BitCast(LoadU(b + unit * kPanel)), b1 = BitCast(LoadU(b + unit * kPanel + kLanes));
#pragma GCC unroll 16
      for (int i = 0; i < rows; ++i) {
        const Unit* base = i < 3 ? a0 : i < 6 ? a3 : i < 9 ? a6 : i < 12 ? a9 : a12;
        VI x = BitCast(Set(base[(i % 3) * stride + unit]));
        asm("" : "+v"(x));  // one broadcast for both products
        acc[i][0] = add_pairs(acc[i][0], x, b0);
        acc[i][1] = add_pairs(acc[i][1], x, b1);
      }
    };
    for (const Unit* end = b + kBlockUnits * kPanel; b != end;) {
      multiply(0);
      multiply(1);
      b += 2 * kPanel, a0 += 2, a3 += 2, a6 += 2, a9 += 2, a12 += 2;
      if constexpr (kLanes == 8) {
        asm volatile("" : "+r"(a0), "+r"(a3), "+r"(b));
      } else {
        asm volatile("" : "+r"(a0), "+r"(a3), "+r"(a6), "+r"(a9), "+r"(a12), "+r"(b));
      }
    }
    a += kBlockUnits;
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const VF scale = Set(scales[i * blocks + block]);
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        float* sum = sums + i * kPanel + v * kLanes;
        StoreU(MulAdd(ConvertTo(acc[i][v]), scale, block > 0 ? LoadU(sum) : Zero()), sum);
      }
    }
  }
}

// G g G^T: `taps` are nine vectors; store(position, values).
template <class Transform, class Store>
VIVACE_INLINE void transform_taps(const VF* taps, const Store& store) {
  constexpr WinogradShape shape = Transform::shape;
  VF half[3][shape.pos];  // columns transformed: [column][position]
#pragma GCC unroll 3
  for (int j = 0; j < 3; ++j) {
    const VF g[3] = {taps[j], taps[3 + j], taps[6 + j]};
    Transform::weights(g, half[j]);
  }
#pragma GCC unroll 6
  for (int i = 0; i < shape.pos; ++i) {
    const VF g[3] = {half[0][i], half[1][i], half[2][i]};
    VF u[shape.pos];
    Transform::weights(g, u);
#pragma GCC unroll 6
    for (int j = 0; j < shape.pos; ++j) store(i * shape.pos + j, u[j]);
  }
}

// taps: [tap][channel][channel of the panel], from element `first` on.
template <class Transform, DType dtype>
void transform_panel(const void* taps, int64_t first, int64_t channels, const float* inverse, int64_t units, Unit* out, int64_t out_stride) {
  constexpr int positions = Transform::shape.pos * Transform::shape.pos;
  for (int64_t unit = 0; unit < units; ++unit, out += kPanel)
#pragma GCC unroll 1
    for (int v = 0; v < kPanel; v += kLanes) {
      VI low[positions];
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const int64_t channel = unit * 2 + half;
        VF g[9];
#pragma GCC unroll 9
        for (int t = 0; t < 9; ++t) g[t] = channel < channels ? load_row(taps, dtype, first + (t * channels + channel) * kPanel + v, kLanes) : Zero();
        transform_taps<Transform>(
            g, [&](int p, VF u) __attribute__((always_inline)) {
              const VI x = NearestInt(u * LoadU(inverse + p * kPanel + v));
              if (half == 0)
                low[p] = x;
              else
                StoreU(BitCast(pair_int16(low[p], x)), out + p * out_stride + v);
            });
      }
    }
}

// job.packed: the weights' scales [panel][position][channel of the panel], then the taps [panel][tap][channel][channel of the panel].
template <class Transform>
void winograd_weights_int16(const ConvJob& job, int64_t panel, void* weights) {
  constexpr int columns = Transform::shape.pos * Transform::shape.pos * kPanel;
  const ConvPlan& plan = job.plan;
  const int64_t channels = job.spec.in_channels, units = plan.chunks * kBlockUnits, first = panel * 9 * channels * kPanel;
  const float* scales = static_cast<const float*>(job.packed) + panel * columns;
  const void* taps = static_cast<const float*>(job.packed) + plan.panels * columns;
  alignas(64) float inverse[columns];
  // 0 for a row that counts as zero and for one that is no number, of which the scale makes one again.
  for (int i = 0; i < columns; ++i) inverse[i] = scales[i] > 0 ? 1 / scales[i] : 0;
  const auto transform = job.spec.w == DType::bfloat16  ? transform_panel<Transform, DType::bfloat16>
                         : job.spec.w == DType::float16 ? transform_panel<Transform, DType::float16>
                                                        : transform_panel<Transform, DType::float32>;
  transform(taps, first, channels, inverse, units, static_cast<Unit*>(weights), plan.weight_stride);
}

using MultiplyBlocks = void (*)(const Unit*, ptrdiff_t, const float*, int64_t, const Unit*, float*);
template <int... i>
constexpr auto multiply_blocks_of(std::integer_sequence<int, i...>) {
  struct Table {
    MultiplyBlocks by_rows[kMaxRows + 1];
  };
  return Table{{nullptr, multiply_blocks<i + 1>...}};
}

template <class Transform>
void winograd_multiply_int16(const ConvJob& job, int64_t index, int64_t panel, const void* input, const void* weights, void* scratch) {
  constexpr WinogradShape shape = Transform::shape;
  constexpr int positions = shape.pos * shape.pos;
  static constexpr auto kMultiply = multiply_blocks_of(std::make_integer_sequence<int, kMaxRows>{});
  const ConvPlan& plan = job.plan;
  const BlockGrid::Block block = plan.grid.block(index);
  const int64_t cells = block.rows * block.cols, most_cells = plan.grid.block_rows * plan.grid.block_cols;
  auto* sums = reinterpret_cast<float*>(static_cast<char*>(scratch) + plan.patch_bytes);
  const auto* a_scales = reinterpret_cast<const float*>(static_cast<const char*>(input) + plan.scales_at);
  const float* w_scales = static_cast<const float*>(job.packed) + panel * positions * kPanel;
  const RowSplit split(cells, kMaxRows);
  for (int p = 0; p < positions; ++p)
    for (int64_t tile = 0; tile < split.count; ++tile) {
      const int64_t first = split.begin(tile);
      kMultiply.by_rows[split.size(tile)](static_cast<const Unit*>(input) + p * plan.position_units + first * plan.tile_units, plan.tile_units,
                                          a_scales + (p * most_cells + first) * plan.chunks, plan.chunks,
                                          static_cast<const Unit*>(weights) + p * plan.weight_stride, sums + p * plan.sum_stride + first * kPanel);
    }
  winograd_finish<Transform, true>(job, block, panel, sums, w_scales);
}

template <class Transform>
inline constexpr ConvSteps kWinogradInt16Steps{winograd_prepare_int16<Transform>, winograd_weights_int16<Transform>,
                                               winograd_multiply_int16<Transform>};

inline constexpr ConvIsaKernels kInt16Kernels{
    .format = {.panel = kPanel, .chunk = kBlock, .unit = 2, .max_rows = kMaxRows, .scaled = true},
    .pack_panel = pack_panel,  // of the taps, as float32 has them
    .direct = {},
    .winograd_f2 = kWinogradInt16Steps<WinogradF2>,
    .winograd_f4 = kWinogradInt16Steps<WinogradF4>,
    .winograd_upsample = kWinogradInt16Steps<WinogradUpsample>,
};

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
