#include "backends/cuda/kernels/gemm.h"

#include <algorithm>

#include "base/log.h"

namespace vivace::cuda {
namespace {

// Whether each 16 bytes of rows of x and w are of one pixel, aligned, and all or none of them inside.
bool is_aligned(const GemmArguments& a, const GemmTypes& types) {
  const int64_t each = 16 / static_cast<int64_t>(dtype_size(types.x));
  const auto fits = [&](int64_t n) { return n % each == 0; };
  const auto address = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  return fits(a.k) && fits(types.convolution ? a.channels : a.x_pitch) && fits(a.w_pitch) && fits(a.x_batch) && fits(a.w_batch) && address(a.x) &&
         address(a.w);
}

struct Tile {
  int rows, columns, warp_rows, warp_columns;
};
// The large one where it makes work for most of a GPU.
constexpr Tile kTiles[] = {{128, 128, 64, 32}, {64, 64, 32, 32}};
const Tile& tile_for(const GemmArguments& a, const GemmTypes& types) {
  const int64_t blocks = int64_t{blocks_for(a.rows, kTiles[0].rows)} * blocks_for(a.columns, kTiles[0].columns) * types.matrices;
  return kTiles[blocks >= 96 ? 0 : 1];
}

bool is_plain(const GemmTypes& types) { return types.plain || types.x == DType::float32; }

}  // namespace

std::string refuse_gemm(const GemmArguments& a, const GemmTypes& types) {
  if (types.geglu && a.columns % 16) return cat("GEGLU of ", a.columns / 2, " features, not a multiple of 8");
  if (types.geglu && (a.residual || a.gate || a.image_bias)) return "GEGLU with a residual, gate or bias of each image";
  if (dtype_size(types.x) == 1 && is_plain(types)) return "quantised rows without tensor cores";
  if (!is_plain(types) && a.w_step != 1) return "a transposed weight";
  return "";
}

Call<GemmArguments> make_gemm(const GemmArguments& arguments, const GemmTypes& types) {
  GemmArguments a = arguments;
  a.rows_per_image = std::max(1LL, a.rows_per_image);
  const auto flag = [](bool x) { return x ? "true" : "false"; };
  const std::string_view x = types.x == DType::uint8 ? "signed char" : type_name(types.x);
  const auto matrices = static_cast<unsigned>(types.matrices);
  if (is_plain(types)) {
    return {{.source = "gemm_plain.cuh",
             .function = cat("gemm_plain<", x, ", ", type_name(types.y), ", ", type_name(types.bias), ", ", flag(types.convolution), ", ",
                             flag(types.geglu), ">"),
             .arguments = "GemmArguments",
             .grid = {blocks_for(a.rows, 64) * blocks_for(a.columns, 64), 1, matrices},
             .block = 256,
             .shared = (2 * 16 + 64) * 68 * 4},
            a};
  }
  const Tile& t = tile_for(a, types);
  constexpr unsigned kStages = 3, kBytes = 64;  // as in gemm.cuh
  return {{.source = "gemm.cuh",
           .function = cat("gemm<", x, ", ", type_name(types.y), ", ", type_name(types.bias), ", ", t.rows, ", ", t.columns, ", ", t.warp_rows, ", ",
                           t.warp_columns, ", ", flag(types.convolution), ", ", flag(is_aligned(a, types)), ", ", flag(types.geglu), ">"),
           .arguments = "GemmArguments",
           .grid = {blocks_for(a.rows, t.rows) * blocks_for(a.columns, t.columns), 1, matrices},
           .block = static_cast<unsigned>(t.rows / t.warp_rows * (t.columns / t.warp_columns) * 32),
           .shared = kStages * static_cast<unsigned>(t.rows + t.columns) * kBytes},
          a};
}

}  // namespace vivace::cuda
