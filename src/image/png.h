// PNG in memory, through libpng.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "image/decoded.h"
#include "vivace/image.h"

namespace vivace {

// 8-bit RGB, `rgb` holds height * width * 3 bytes. ASCII text becomes tEXt chunks, other text (UTF-8) iTXt.
// Throws UsageError for a keyword PNG does not allow.
std::vector<uint8_t> encode_png(int height, int width, const uint8_t* rgb, const TextChunks& text);

bool is_png(std::span<const std::byte> file);

// Of any kind: gray and palette become RGB, of 16 bits the upper 8 are kept, alpha is dropped. Throws UserError that starts with `name`, before
// pixels are read where there are more than `most_pixels`.
Decoded decode_png(std::span<const std::byte> file, const std::string& name, int64_t most_pixels);

// The same of its transparency alone, white where nothing is seen and black where the picture is opaque; nothing where all of it is.
std::optional<Decoded> decode_png_transparency(std::span<const std::byte> file, const std::string& name, int64_t most_pixels);

}  // namespace vivace
