#include "components/vae_tiling.h"

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Pictures of one channel that a tensor [.., H, W] holds.
int64_t planes(const Tensor& x) { return numel({x.shape().begin(), x.shape().end() - 2}); }

Shape with_sides(Shape shape, int64_t height, int64_t width) {
  shape.end()[-2] = height, shape.end()[-1] = width;
  return shape;
}

// What of [.., H, W] lies in [top, top + height) x [left, left + width).
Tensor part(const Tensor& x, int64_t top, int64_t left, int64_t height, int64_t width) {
  height = std::min(height, x.dim(-2) - top), width = std::min(width, x.dim(-1) - left);
  Tensor out(with_sides(x.shape(), height, width), DType::float32);
  float* to = out.as<float>();
  for (int64_t plane = 0; plane < planes(x); ++plane)
    for (int64_t y = 0; y < height; ++y) to = std::copy_n(x.as<float>() + (plane * x.dim(-2) + top + y) * x.dim(-1) + left, width, to);
  return out;
}

// blend_v and blend_h: the first `extent` rows (or columns) of `tile` go over from the last ones of the tile before.
void blend(const Tensor& before, Tensor& tile, int64_t extent, bool rows) {
  const int axis = rows ? -2 : -1;
  extent = std::min({before.dim(axis), tile.dim(axis), extent});
  const int64_t h = rows ? extent : tile.dim(-2), w = rows ? tile.dim(-1) : extent;
  for (int64_t plane = 0; plane < planes(tile); ++plane)
    for (int64_t y = 0; y < h; ++y)
      for (int64_t x = 0; x < w; ++x) {
        const int64_t i = rows ? y : x, from_y = rows ? before.dim(-2) - extent + y : y, from_x = rows ? x : before.dim(-1) - extent + x;
        const float share = static_cast<float>(static_cast<double>(i) / static_cast<double>(extent)),
                    rest = static_cast<float>(1 - static_cast<double>(i) / static_cast<double>(extent));
        float& to = tile.as<float>()[(plane * tile.dim(-2) + y) * tile.dim(-1) + x];
        to = before.as<float>()[(plane * before.dim(-2) + from_y) * before.dim(-1) + from_x] * rest + to * share;
      }
}

// What the next tile is blended with: the last `extent` rows, or columns.
Tensor end_of(const Tensor& tile, int64_t extent, bool rows) {
  const int64_t height = rows ? std::min(extent, tile.dim(-2)) : tile.dim(-2), width = rows ? tile.dim(-1) : std::min(extent, tile.dim(-1));
  return part(tile, tile.dim(-2) - height, tile.dim(-1) - width, height, width);
}

// The first `height` rows and `width` columns of the tile to their place.
void put(const Tensor& tile, int64_t height, int64_t width, Tensor& out, int64_t top, int64_t left) {
  for (int64_t plane = 0; plane < planes(tile); ++plane)
    for (int64_t y = 0; y < height; ++y)
      std::copy_n(tile.as<float>() + (plane * tile.dim(-2) + y) * tile.dim(-1), width,
                  out.as<float>() + (plane * out.dim(-2) + top + y) * out.dim(-1) + left);
}

// What is made of the tile at `at`.
int64_t made_of(const TileGrid& grid, const TileSide& side, int64_t size, int64_t at) {
  return std::min(side.tile, size - at) * grid.made / grid.read;
}

// What is kept of all tiles.
int64_t kept_of(const TileGrid& grid, const TileSide& side, int64_t size) {
  int64_t kept = 0;
  for (int64_t at = 0; at < size; at += side.step) kept += std::min(side.keep, made_of(grid, side, size, at));
  return kept;
}

// Of a tile that is done its part of the result stays, and what its neighbours are blended with.
Tensor with_neighbours(const Tensor& x, const TileGrid& grid, const std::function<Tensor(const Tensor&)>& run) {
  const TileSide &h = grid.height, &w = grid.width;
  Tensor out;
  std::vector<Tensor> above;
  for (int64_t top = 0, y = 0; top < x.dim(-2); top += h.step) {
    const int64_t height = made_of(grid, h, x.dim(-2), top);
    std::vector<Tensor> below;
    Tensor before;
    for (int64_t left = 0, at = 0; left < x.dim(-1); left += w.step) {
      const int64_t width = made_of(grid, w, x.dim(-1), left);
      Tensor tile = run(part(x, top, left, h.tile, w.tile));
      if (tile.dim(-2) != height || tile.dim(-1) != width)
        throw InternalError(cat("a tile has ", tile.dim(-2), " x ", tile.dim(-1), " pixels, expected ", height, " x ", width));
      if (top > 0) blend(above[below.size()], tile, h.blend, true);
      if (left > 0) blend(before, tile, w.blend, false);
      if (!out.defined()) out = Tensor(with_sides(tile.shape(), kept_of(grid, h, x.dim(-2)), kept_of(grid, w, x.dim(-1))), DType::float32);
      put(tile, std::min(h.keep, height), std::min(w.keep, width), out, y, at);
      at += std::min(w.keep, width);
      below.push_back(end_of(tile, h.blend, true));
      before = end_of(tile, w.blend, false);
    }
    y += std::min(h.keep, height);
    above = std::move(below);
  }
  return out;
}

Tensor over_one_another(const Tensor& x, const TileGrid& grid, const std::function<Tensor(const Tensor&)>& run) {
  Tensor out;
  const auto scaled = [&](int64_t pixels) { return pixels * grid.made / grid.read; };
  // How much of a tile is seen over those before it, by the distance from its edge.
  const auto seen = [](int64_t at, int64_t edge, int64_t blend) {
    return edge == 0 ? 1.f : std::clamp(static_cast<float>(at) / static_cast<float>(blend - 1), 0.f, 1.f);
  };
  const TileSide &h = grid.height, &w = grid.width;
  for (int64_t top = 0; top < x.dim(-2); top += h.step)
    for (int64_t left = 0; left < x.dim(-1); left += w.step) {
      const Tensor tile = run(part(x, top, left, h.tile, w.tile));
      if (!out.defined()) out = Tensor::zeros(with_sides(tile.shape(), scaled(x.dim(-2)), scaled(x.dim(-1))));
      for (int64_t plane = 0; plane < planes(tile); ++plane)
        for (int64_t i = 0; i < tile.dim(-2); ++i)
          for (int64_t j = 0; j < tile.dim(-1); ++j) {
            const float share = seen(i, top, h.blend) * seen(j, left, w.blend);
            float& to = out.as<float>()[(plane * out.dim(-2) + scaled(top) + i) * out.dim(-1) + scaled(left) + j];
            to = share * tile.as<float>()[(plane * tile.dim(-2) + i) * tile.dim(-1) + j] + (1 - share) * to;
          }
    }
  return out;
}

TileSide checked(const TileSide& side, int64_t least_blend) {
  if (side.step < 1 || side.keep < 1 || side.blend < least_blend)
    throw UsageError(cat("tiles of ", side.tile, " pixels a side cannot overlap: this VAE's sample_size is too small for tiling"));
  return side;
}

}  // namespace

TileSide neighbours(int64_t read, int64_t made, double overlap) {
  const auto blend = static_cast<int64_t>(static_cast<double>(made) * overlap);
  return checked({.tile = read, .step = static_cast<int64_t>(static_cast<double>(read) * (1 - overlap)), .blend = blend, .keep = made - blend}, 0);
}

TileSide one_over_another(int64_t read, int64_t made, double overlap) {
  const auto shared = static_cast<int64_t>(static_cast<double>(read) * overlap);
  return checked({.tile = read, .step = read - shared, .blend = shared * made / read, .keep = made}, 2);
}

std::vector<std::pair<int64_t, int64_t>> tile_sizes(const TileGrid& grid, int64_t height, int64_t width) {
  std::vector<std::pair<int64_t, int64_t>> sizes;
  for (int64_t top = 0; top < height; top += grid.height.step)
    for (int64_t left = 0; left < width; left += grid.width.step) {
      const std::pair size{std::min(grid.height.tile, height - top), std::min(grid.width.tile, width - left)};
      if (!std::ranges::count(sizes, size)) sizes.push_back(size);
    }
  return sizes;
}

Tensor in_tiles(const Tensor& x, const TileGrid& grid, const std::function<Tensor(const Tensor&)>& run) {
  const Tensor values = x.to(DType::float32);
  return grid.over ? over_one_another(values, grid, run) : with_neighbours(values, grid, run);
}

}  // namespace vivace
