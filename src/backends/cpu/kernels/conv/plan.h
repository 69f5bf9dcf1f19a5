// How a convolution is cut into blocks and what its buffers measure: what the driver (conv.cc) and the kernels of every instruction set share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/kernels/conv/conv.h"

namespace vivace::cpu {

// Images cut into rectangles of `block_rows` x `block_cols` cells (fewer at the far edges). A cell is an output pixel or a Winograd tile.
struct BlockGrid {
  int64_t images = 1, rows = 0, cols = 0;
  int64_t block_rows = 0, block_cols = 0;
  int64_t blocks_y = 0, blocks_x = 0;

  struct Block {
    int64_t image, row, col, rows, cols;
  };
  int64_t count() const { return images * blocks_y * blocks_x; }
  Block block(int64_t index) const {
    const int64_t row = index / blocks_x % blocks_y * block_rows, col = index % blocks_x * block_cols;
    return {index / (blocks_x * blocks_y), row, col, rows - row < block_rows ? rows - row : block_rows,
            cols - col < block_cols ? cols - col : block_cols};
  }
};

// Rows cut into register tiles of at most `most`, as equal as can be.
struct RowSplit {
  int64_t rows, count;
  RowSplit(int64_t rows, int64_t most) : rows(rows), count((rows + most - 1) / most) {}
  int64_t begin(int64_t tile) const { return tile * (rows / count) + (tile < rows % count ? tile : rows % count); }
  int64_t size(int64_t tile) const { return rows / count + (tile < rows % count); }
};

// What an instruction set and the products fix: the packed formats and the register tile.
struct ConvFormat {
  int panel;     // output channels of a register tile
  int chunk;     // input channels that are prepared at a time
  int unit;      // input channels in four bytes
  int max_rows;  // cells of a register tile
  // winograd_int16.h: a transformed tile has a scale for each chunk and position, and weights are kept as taps and transformed as they are used.
  bool scaled = false;

  int64_t panels(int64_t out_channels) const { return (out_channels + panel - 1) / panel; }
  // A scaled format's last chunk is filled up.
  int64_t units(int64_t in_channels) const { return scaled ? chunks(in_channels) * chunk / unit : (in_channels + unit - 1) / unit; }
  int64_t chunks(int64_t in_channels) const { return (in_channels + chunk - 1) / chunk; }
};

// One dimension of a tile: `in` inputs, the next tile's `in_step` further, give `pos` products and from them `out` outputs.
struct WinogradShape {
  int in, pos, in_step, out;
  double weight_transform[6][3];  // G, [pos][3]
};
inline constexpr WinogradShape kWinogradF2{4, 4, 2, 2, {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}}};
inline constexpr WinogradShape kWinogradF4{
    6,
    6,
    4,
    4,
    {{1. / 4, 0, 0}, {-1. / 6, -1. / 6, -1. / 6}, {-1. / 6, 1. / 6, -1. / 6}, {1. / 24, 1. / 12, 1. / 6}, {1. / 24, -1. / 12, 1. / 6}, {0, 0, 1}}};
// F(2, 3) on pixels a, b, b, c: one of its four products is (b - b) times a weight; what is left is a - b, b and b - c, with the 2 of 2b in G.
inline constexpr WinogradShape kWinogradUpsample{3, 3, 1, 2, {{1, 0, 0}, {1, 1, 1}, {0, 0, 1}}};

// Work is blocks of cells times panels of output channels. With a `group`, the inputs of so many blocks are prepared first, for all threads, and each
// panel's weights are then read once for them (for few blocks or large weights); without, a thread prepares a block in its own cache and does all
// panels.
struct ConvPlan {
  int threads = 1;
  BlockGrid grid;
  int64_t group = 0;
  int64_t panels = 0, chunks = 0;
  size_t input_bytes = 0;    // of one block's prepared input
  size_t scratch_bytes = 0;  // of a thread
  size_t workspace_bytes() const {
    return static_cast<size_t>(group > 0 ? group : threads) * input_bytes + static_cast<size_t>(threads) * scratch_bytes +
           static_cast<size_t>(weights_first ? panels : threads) * weight_bytes;
  }

  // Winograd: transformed input is [position][tile][unit].
  int64_t tile_units = 0, position_units = 0;
  size_t scales_at = 0;    // of the input, in a scaled format: [position][tile][chunk]
  int64_t patch_cols = 0;  // between the rows of a patch, in pixels
  size_t patch_bytes = 0;  // of the scratch, before the sums [position][tile][channel of the panel]
  int64_t sum_stride = 0;  // floats between their positions

  // In a scaled format: a panel's transformed weights, [position][unit][channel of the panel]. Those of all panels are made first if a cache can hold
  // them, otherwise each thread makes a panel's for a group of blocks.
  bool weights_first = false;
  size_t weight_bytes = 0;
  int64_t weight_stride = 0;  // units between their positions

  // Direct: input is [patch row][patch col][unit].
  int64_t pixel_units = 0;
  int phases = 1, taps = 1;  // taps a phase; phases > 1 only when upsampling
  int taps_at_once = 1;      // whose weights stay in the second-level cache
  size_t sum_bytes = 0;      // of the scratch, before the widened weights of taps_at_once taps, if they are kept in two bytes
};
// `spec`: over_frames(), as everywhere below; n: pictures of the output.
ConvPlan plan_winograd(const WinogradShape& shape, const ConvFormat& format, const ConvSpec& spec, int64_t n, int64_t h, int64_t w, int threads);
ConvPlan plan_direct(const ConvFormat& format, const ConvSpec& spec, int64_t n, int64_t h, int64_t w, int threads);

// in_channels: those of all frames, each frame's filled up to whole chunks.
ConvSpec over_frames(const ConvFormat& format, const ConvSpec& spec);

struct ConvJob {
  const ConvSpec& spec;  // over_frames()
  const ConvPlan& plan;
  const ConvArgs& args;
  const void* packed;
  int64_t frame_channels;  // of x
};

// One algorithm on one instruction set.
struct ConvSteps {
  // Channel chunks [chunk_begin, chunk_end) of a block into `input` (plan.input_bytes).
  void (*prepare)(const ConvJob&, int64_t block, int64_t chunk_begin, int64_t chunk_end, void* input, void* scratch);
  // A panel's packed weights into `weights` (plan.weight_bytes); null where they are packed as they are multiplied.
  void (*transform_weights)(const ConvJob&, int64_t panel, void* weights);
  // One panel of a block from its prepared input, and its transformed weights where there are such, into y.
  void (*multiply)(const ConvJob&, int64_t block, int64_t panel, const void* input, const void* weights, void* scratch);
};

// packed[panel][slot][unit][panel channels][channels of a unit] = sum over taps of coefficients[slot][tap] * weight[tap]
struct ConvPackJob {
  int64_t in_channels, out_channels;
  int taps, slots;
  const double* coefficients;
  const void* weight;  // OIHW
  DType dtype;         // float32, float16 or bfloat16
  void* packed;
  DType packed_dtype;  // float32, float16 or bfloat16 where a unit is one channel; bfloat16 where it is two
};

struct ConvIsaKernels {
  ConvFormat format;
  void (*pack_panel)(const ConvPackJob&, int64_t panel);
  ConvSteps direct, winograd_f2, winograd_f4, winograd_upsample;
};
namespace avx2 {
extern const ConvIsaKernels kConvF32, kConvInt16;
}
namespace avx2_vnni {
extern const ConvIsaKernels kConvInt16;
}
namespace avx512 {
extern const ConvIsaKernels kConvF32, kConvInt16;
}
namespace avx512_vnni {
extern const ConvIsaKernels kConvInt16;
}
namespace avx512_bf16 {
extern const ConvIsaKernels kConvBf16;
}
namespace amx {
extern const ConvIsaKernels kConvBf16;
}

}  // namespace vivace::cpu
