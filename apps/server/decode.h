// Pictures that requests bring.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "vivace/image.h"

namespace vivace::server {

// A PNG, JPEG or WebP; `field` is what messages call it. Throws FieldError for anything else, and for more than `most_pixels`, before they are read.
Image decoded_picture(std::string_view file, const std::string& field, int64_t most_pixels);
// White is repainted, as in Diffusers. Of a file with transparency, what is transparent is white, as OpenAI's masks have it.
Image decoded_mask(std::string_view file, const std::string& field, int64_t most_pixels);
Image inverted(const Image& mask);

// What base64 stands for, be it a data URL ("data:image/png;base64,...") or without it. Throws FieldError.
std::string from_base64(std::string_view text, const std::string& field);

}  // namespace vivace::server
