#include "backends/cuda/kernels/norm.h"

#include <algorithm>

#include "base/log.h"

namespace vivace::cuda {
namespace {

// Enough chunks to fill a large GPU, few enough to be merged by a warp in a few rounds.
int64_t chunks_of(int64_t images, int64_t pixels) {
  return std::clamp<int64_t>(std::min<int64_t>(pixels / 16, 512 / std::max<int64_t>(1, images)), 1, 512);
}

}  // namespace

Call<RowNormArguments> make_row_norm(const RowNormArguments& a, DType x, DType weights, DType y) {
  const bool wide = a.columns > 1024;
  const int padded = (a.columns + 7) / 8 * 8;
  const bool quantized = dtype_size(y) == 1;
  const unsigned most = quantized ? 512 : 1024;  // which leaves a thread 128 registers, or 64
  const unsigned threads = wide ? std::min(most, std::max(128u, blocks_for(padded, 8 * 32 * 2) * 32)) : 128;
  const int64_t teams = wide ? 1 : threads / 32;
  return {{.source = "row_norm.cuh",
           .function = cat("row_norm<", type_name(x), ", ", type_name(weights), ", ", y == DType::uint8 ? "unsigned char" : type_name(y), ", ",
                           wide ? "true" : "false", ">"),
           .arguments = "RowNormArguments",
           .grid = {blocks_for(a.rows * a.heads, teams), 1, 1},
           .block = threads,
           .shared = static_cast<unsigned>((padded * teams + 64) * 4)},
          a};
}

size_t group_norm_workspace(int64_t images, int64_t pixels, int groups) {
  return static_cast<size_t>(images * chunks_of(images, pixels) * groups) * 3 * sizeof(float);
}

std::array<Call<GroupNormArguments>, 2> make_group_norm(GroupNormArguments a, int64_t images, DType x, DType weights) {
  constexpr unsigned kThreads = 256;
  const int64_t wanted = chunks_of(images, a.pixels);
  a.chunk_pixels = (a.pixels + wanted - 1) / wanted;
  a.chunks = static_cast<int>(blocks_for(a.pixels, a.chunk_pixels));
  const unsigned vectors = blocks_for(a.channels, 8), shares = vectors < kThreads ? kThreads / vectors : 1;
  Launch moments{.source = "group_norm.cuh",
                 .function = cat("group_norm_moments<", type_name(x), ">"),
                 .arguments = "GroupNormArguments",
                 .grid = {static_cast<unsigned>(a.chunks), static_cast<unsigned>(images), 1},
                 .block = kThreads,
                 .shared = shares * static_cast<unsigned>(a.channels) * 8};
  Launch apply = moments;
  apply.function = cat("group_norm_apply<", type_name(x), ", ", type_name(weights), ">");
  apply.shared = static_cast<unsigned>(a.channels) * 12;
  return {{{moments, a}, {apply, a}}};
}

Call<SoftmaxArguments> make_softmax(const SoftmaxArguments& a, DType x, DType y) {
  return {{.source = "softmax.cuh",
           .function = cat("softmax<", type_name(x), ", ", type_name(y), ">"),
           .arguments = "SoftmaxArguments",
           .grid = {static_cast<unsigned>(a.rows), 1, 1},
           .block = std::clamp(blocks_for(a.columns, 8 * 32) * 32, 32u, 512u),
           .shared = 64 * 4},
          a};
}

Call<RotaryArguments> make_rotary(const RotaryArguments& a, DType x) {
  const int64_t threads = a.rows * ((static_cast<int64_t>(a.columns) * a.heads + 7) / 8);
  return {{.source = "softmax.cuh",
           .function = cat("rotary<", type_name(x), ">"),
           .arguments = "RotaryArguments",
           .grid = {std::min(blocks_for(threads, 256), 4096u), 1, 1},
           .block = 256},
          a};
}

}  // namespace vivace::cuda
