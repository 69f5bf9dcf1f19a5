// How the inputs of a tile program lie over its result: for the CPU's interpreter and for printed source alike.
#pragma once

#include <cstdint>

#include "vivace/dtype.h"

namespace vivace {

// How an input covers [rows, channels], and what its stride means.
enum class TileBroadcast : uint8_t {
  full,           // [rows, channels]; elements between rows
  row,            // [rows]; elements between them
  channel,        // [channels]; unused
  image_channel,  // [images, channels], an image being rows_per_image rows; elements between images
  scalar,         // one element; unused
};

struct TileInput {
  DType dtype = DType::float32;  // float32, bfloat16 or float16
  TileBroadcast broadcast = TileBroadcast::full;
};

}  // namespace vivace
