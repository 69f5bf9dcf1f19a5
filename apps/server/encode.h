// Pictures as files in memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "job.h"
#include "vivace/image.h"

namespace vivace::server {

// `settings`: the PNG's text "parameters", which other programs read and write too, the JPEG's comment, the WebP's UserComment. `quality`: 1 to 100.
Picture encoded(const Image& image, Format format, int quality, uint64_t seed, const std::string& settings);
// Throws FieldError for a size that no file of the format has.
void check_format(Format format, int64_t height, int64_t width);
std::string content_type(Format format);  // "image/png"
std::string base64(std::string_view bytes);

}  // namespace vivace::server
