// JPEG in memory, through libjpeg-turbo.
#pragma once

#include "image/decoded.h"

namespace vivace {

bool is_jpeg(std::span<const std::byte> file);

// Grey becomes RGB, and so does CMYK, as Pillow converts it. Throws UserError that starts with `name`, before pixels are read where there are more
// than `most_pixels`.
Decoded decode_jpeg(std::span<const std::byte> file, const std::string& name, int64_t most_pixels);

}  // namespace vivace
