// WebP in memory, through libwebp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vivace/image.h"

namespace vivace::server {

// `comment` becomes EXIF's UserComment, where programs that draw look for it. `quality`: 1 to 100.
std::string encode_webp(const Image& image, int quality, const std::string& comment);

struct Rgba {
  int height = 0, width = 0;
  bool has_alpha = false;
  std::vector<uint8_t> pixels;  // [height, width, 4]
};
struct WebpSize {
  int height = 0, width = 0;
};
// Of a WebP file's head; nothing where it is none.
std::optional<WebpSize> webp_size(std::string_view file);
// Nothing where it is damaged.
std::optional<Rgba> decode_webp(std::string_view file);

}  // namespace vivace::server
