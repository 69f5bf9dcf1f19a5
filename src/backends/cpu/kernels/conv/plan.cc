#include "backends/cpu/kernels/conv/plan.h"

#include <algorithm>

namespace vivace::cpu {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

constexpr int64_t kUnitBytes = 4, kLine = 64;
// Half of a second-level cache: a block's input stays there while every panel reads it; weights and sums stream through the other half.
// (Measured on Zen 4, 1 MiB: 350 to 600 KiB are alike, 1.5 MiB and more are 3-5 % slower.)
constexpr int64_t kHalfCache = 512 << 10;
constexpr int64_t kLastLevel = 16 << 20;  // what can be expected of a last-level cache

// Buffers whose rows lie a multiple of 4 KiB apart would fight for the same few cache sets: lengths are made odd multiples of a line.
int64_t odd_lines(int64_t bytes) { return round_up(bytes, 2 * kLine) + kLine; }

// Of `total` cells, the largest part <= most of an equal division.
int64_t equal_part(int64_t total, int64_t most) { return divide_up(total, divide_up(total, std::clamp<int64_t>(most, 1, total))); }

void cut(BlockGrid& grid, int64_t cells, int64_t most_cols) {
  grid.block_cols = equal_part(grid.cols, std::min(most_cols, cells));
  grid.block_rows = equal_part(grid.rows, cells / grid.block_cols);
  grid.blocks_y = divide_up(grid.rows, grid.block_rows);
  grid.blocks_x = divide_up(grid.cols, grid.block_cols);
}

// The least cells of a block: `tiles` register tiles, where those are small.
int64_t least_cells(const ConvFormat& format, int64_t tiles) { return std::min<int64_t>(tiles * format.max_rows, 16 * tiles); }

int64_t block_cache(const ConvSpec& spec) { return spec.blocking.cache_kib > 0 ? int64_t{spec.blocking.cache_kib} << 10 : kHalfCache; }

// Sharing costs a pass through the last-level cache; it pays where threads would otherwise idle or read weights from memory again and again.
bool share_input(const ConvPlan& plan, const ConvSpec& spec, size_t weight_bytes, int threads) {
  if (spec.blocking.shared >= 0) return spec.blocking.shared != 0;
  const auto blocks = static_cast<size_t>(plan.grid.count()), last_level = static_cast<size_t>(kLastLevel);
  return blocks < 2 * static_cast<size_t>(threads) || (weight_bytes > last_level / 2 && blocks * plan.input_bytes <= last_level);
}

}  // namespace

ConvSpec over_frames(const ConvFormat& format, const ConvSpec& spec) {
  ConvSpec wide = spec;
  if (spec.depth > 1) wide.in_channels = spec.depth * format.chunks(spec.in_channels) * format.chunk;
  return wide;
}

int64_t conv_out_h(const ConvSpec& spec, int64_t h) {
  return ((spec.upsample2x ? 2 * h : h) + spec.pad.top + spec.pad.bottom - spec.kernel) / spec.stride + 1;
}
int64_t conv_out_w(const ConvSpec& spec, int64_t w) {
  return ((spec.upsample2x ? 2 * w : w) + spec.pad.left + spec.pad.right - spec.kernel) / spec.stride + 1;
}

ConvPlan plan_winograd(const WinogradShape& shape, const ConvFormat& format, const ConvSpec& spec, int64_t n, int64_t h, int64_t w, int threads) {
  ConvPlan plan;
  plan.panels = format.panels(spec.out_channels);
  plan.chunks = format.chunks(spec.in_channels);
  const int64_t positions = shape.pos * shape.pos;
  plan.tile_units = odd_lines(plan.chunks * format.chunk / format.unit * kUnitBytes) / kUnitBytes;

  plan.grid.images = n;
  plan.grid.rows = divide_up(conv_out_h(spec, h), shape.out);
  plan.grid.cols = divide_up(conv_out_w(spec, w), shape.out);
  cut(plan.grid, std::clamp<int64_t>(block_cache(spec) / (positions * plan.tile_units * kUnitBytes), least_cells(format, 4), 16 * format.max_rows),
      16);

  const int64_t cells = plan.grid.block_rows * plan.grid.block_cols;
  plan.position_units = odd_lines(cells * plan.tile_units * kUnitBytes) / kUnitBytes;
  plan.scales_at = plan.input_bytes = static_cast<size_t>(positions * plan.position_units * kUnitBytes);
  if (format.scaled) plan.input_bytes += static_cast<size_t>(round_up(positions * cells * plan.chunks * 4, kLine));
  plan.patch_cols = (plan.grid.block_cols - 1) * shape.in_step + shape.in;
  const int64_t patch_rows = (plan.grid.block_rows - 1) * shape.in_step + shape.in;
  plan.patch_bytes = static_cast<size_t>(odd_lines(patch_rows * plan.patch_cols * format.chunk * 4));
  plan.sum_stride = odd_lines(cells * format.panel * 4) / 4;
  plan.scratch_bytes = plan.patch_bytes + static_cast<size_t>(positions * plan.sum_stride * 4);
  const int64_t panel_bytes = positions * format.units(spec.in_channels) * format.panel * kUnitBytes;
  plan.group = share_input(plan, spec, static_cast<size_t>(plan.panels * panel_bytes), threads) ? plan.grid.count() : 0;
  if (format.scaled) {
    plan.weight_stride = odd_lines(panel_bytes / positions) / kUnitBytes;
    plan.weight_bytes = static_cast<size_t>(positions * plan.weight_stride * kUnitBytes);
    plan.weights_first = plan.panels * panel_bytes <= kLastLevel / 2;
    // To transform a weight takes as long as its products with a few cells, so a group has enough of those.
    constexpr int64_t kEnough = 64;
    const int64_t fit = kLastLevel / 2 / static_cast<int64_t>(plan.input_bytes);
    if (!plan.weights_first) plan.group = equal_part(plan.grid.count(), std::max(fit, divide_up(kEnough, cells)));
  }
  return plan;
}

ConvPlan plan_direct(const ConvFormat& format, const ConvSpec& spec, int64_t n, int64_t h, int64_t w, int threads) {
  ConvPlan plan;
  plan.panels = format.panels(spec.out_channels);
  plan.chunks = format.chunks(spec.in_channels);
  plan.phases = spec.upsample2x ? 4 : 1;
  plan.taps = spec.upsample2x ? 4 : spec.kernel * spec.kernel;
  plan.pixel_units = odd_lines(plan.chunks * format.chunk / format.unit * kUnitBytes) / kUnitBytes;

  plan.grid.images = n;
  plan.grid.rows = spec.upsample2x ? h : conv_out_h(spec, h);
  plan.grid.cols = spec.upsample2x ? w : conv_out_w(spec, w);
  const int64_t pixel_bytes = plan.pixel_units * kUnitBytes * spec.stride * spec.stride;
  cut(plan.grid, std::clamp<int64_t>(block_cache(spec) / pixel_bytes, least_cells(format, 8), 24 * format.max_rows), 5 * format.max_rows);

  plan.patch_cols = (plan.grid.block_cols - 1) * spec.stride + spec.kernel;
  const int64_t patch_rows = (plan.grid.block_rows - 1) * spec.stride + spec.kernel;
  plan.input_bytes = static_cast<size_t>(odd_lines(patch_rows * plan.patch_cols * plan.pixel_units * kUnitBytes));
  plan.sum_bytes = static_cast<size_t>(plan.grid.block_rows * plan.grid.block_cols * format.panel * 4);
  const int64_t tap_bytes = format.units(spec.in_channels) * format.panel * kUnitBytes;
  plan.taps_at_once = static_cast<int>(std::clamp<int64_t>(kHalfCache / tap_bytes, 1, plan.taps));
  plan.taps_at_once = static_cast<int>(equal_part(plan.taps, plan.taps_at_once));
  const bool widens = format.unit == 1 && spec.w != DType::float32;
  plan.scratch_bytes = plan.sum_bytes + (widens ? static_cast<size_t>(plan.taps_at_once * tap_bytes) : 0);
  plan.group = share_input(plan, spec, static_cast<size_t>(plan.panels * plan.phases * plan.taps * tap_bytes), threads) ? plan.grid.count() : 0;
  return plan;
}

}  // namespace vivace::cpu
