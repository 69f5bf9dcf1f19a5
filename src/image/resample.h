// Pillow 13's Image.resize of 8-bit pictures, to the bit: fixed-point weights, and 8 bits between the two directions.
#pragma once

#include <cstdint>
#include <vector>

#include "vivace/image.h"

namespace vivace {

enum class Filter : uint8_t { bicubic, lanczos };

// Part of a picture, in pixels; the second pair is behind its end. As in Pillow it may be empty, where the result repeats an edge.
struct Box {
  int left = 0, top = 0, right = 0, bottom = 0;
  int width() const { return right - left; }
  int height() const { return bottom - top; }
};

// That part of the picture at height x width; of this, what lies in `seen`, which is all that is computed.
Image resample(const Image& image, int height, int width, Filter filter, const Box& box, const Box& seen);
inline Image resample(const Image& image, int height, int width, Filter filter, const Box& box) {
  return resample(image, height, width, filter, box, {0, 0, width, height});
}

}  // namespace vivace
