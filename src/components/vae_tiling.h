// Encoding and decoding in tiles, as Diffusers does it: `run` makes of a tile [.., h, w] what it makes of a picture or a video, a fixed factor larger
// or smaller.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "vivace/tensor.h"

namespace vivace {

// Of one dimension.
struct TileSide {
  int64_t tile = 0, step = 0;   // a tile's side and the way to the next, in pixels of what is read
  int64_t blend = 0, keep = 0;  // what of a tile is blended into the one before, and what of it is kept, in pixels of what is made
};

struct TileGrid {
  TileSide height, width;
  int64_t made = 1, read = 1;  // `made` pixels for `read` ones, a remainder makes none
  bool over = false;           // each tile is blended over all before it (AutoencoderTiny) instead of with its neighbours
};

// Of a class's tiles of these sides, `overlap` of which two share: what it makes of `read` is `made`.
TileSide neighbours(int64_t read, int64_t made, double overlap);
TileSide one_over_another(int64_t read, int64_t made, double overlap);

// The sizes of all tiles of height x width, each once.
std::vector<std::pair<int64_t, int64_t>> tile_sizes(const TileGrid& grid, int64_t height, int64_t width);

Tensor in_tiles(const Tensor& x, const TileGrid& grid, const std::function<Tensor(const Tensor&)>& run);

}  // namespace vivace
