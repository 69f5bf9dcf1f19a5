// What the readers of picture files share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace vivace {

// A picture as its file stores it: rows of 8-bit RGB from the top.
struct Decoded {
  size_t height = 0, width = 0;
  std::unique_ptr<uint8_t[]> rgb;
  int orientation = 1;  // EXIF's, 1 to 8: how it is to be turned before it is looked at
};

// 16384 x 16384: a damaged or hostile header must not claim all memory.
constexpr int64_t kMaxPixels = int64_t{1} << 28;
constexpr uint32_t kMaxSide = 1 << 16;

// Throws UserError that starts with `name` for a picture beyond these limits, and for one of more than `most_pixels`.
void check_pixels(uint64_t height, uint64_t width, const std::string& name, int64_t most_pixels);

}  // namespace vivace
