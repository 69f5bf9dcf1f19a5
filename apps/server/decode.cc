#include "decode.h"

#include <png.h>

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "base/log.h"
#include "fields.h"
#include "webp.h"

namespace vivace::server {
namespace {

uint32_t big_endian(std::string_view bytes, size_t at, size_t count) {
  uint32_t value = 0;
  for (size_t i = 0; i < count; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

constexpr std::string_view kPng("\x89PNG\r\n\x1a\n", 8), kJpeg("\xff\xd8", 2);

// Height times width of a JPEG's frame; nothing where there is no frame where one is to be.
std::optional<int64_t> jpeg_pixels(std::string_view file) {
  for (size_t at = 2; at + 9 < file.size();) {
    if (file[at] != '\xff') return std::nullopt;
    const auto marker = static_cast<uint8_t>(file[at + 1]);
    if (marker == 0xff) {  // filling
      ++at;
      continue;
    }
    const bool frame = marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    if (frame) return int64_t{big_endian(file, at + 5, 2)} * big_endian(file, at + 7, 2);
    if (marker == 0xda || marker == 0xd9) return std::nullopt;
    at += 2 + big_endian(file, at + 2, 2);
  }
  return std::nullopt;
}

// As the file's head says, which is all that has been looked at.
std::optional<int64_t> pixels_of(std::string_view file) {
  if (file.starts_with(kPng)) {
    if (file.size() < 24) return std::nullopt;
    // Sides of more than 31 bits, which PNG does not allow, would be too many pixels for 64 bits.
    const auto side = [&](size_t at) { return std::min<int64_t>(big_endian(file, at, 4), INT32_MAX); };
    return side(16) * side(20);
  }
  if (file.starts_with(kJpeg)) return jpeg_pixels(file);
  const auto size = webp_size(file);
  return size ? std::optional(int64_t{size->height} * size->width) : std::nullopt;
}

void check(std::string_view file, const std::string& field, int64_t most_pixels) {
  const auto pixels = pixels_of(file);
  if (!pixels) throw FieldError(field, cat(field, " is no picture: expected a PNG, JPEG or WebP file"));
  if (*pixels > most_pixels) throw FieldError(field, cat(field, " has ", *pixels, " pixels: expected at most ", most_pixels));
}

Rgba webp_of(std::string_view file, const std::string& field) {
  auto picture = decode_webp(file);
  if (!picture) throw FieldError(field, cat(field, " is a WebP file that is damaged or moves: expected a picture"));
  return std::move(*picture);
}

// With its transparency, where it has any.
std::optional<Rgba> transparent_png(std::string_view file) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_memory(&image, file.data(), file.size())) return std::nullopt;
  Rgba picture{.height = static_cast<int>(image.height),
               .width = static_cast<int>(image.width),
               .has_alpha = (image.format & PNG_FORMAT_FLAG_ALPHA) != 0,
               .pixels = {}};
  image.format = PNG_FORMAT_RGBA;
  bool read = false;
  if (picture.has_alpha) {
    picture.pixels.resize(PNG_IMAGE_SIZE(image));
    read = png_image_finish_read(&image, nullptr, picture.pixels.data(), 0, nullptr) != 0;
  }
  png_image_free(&image);
  return read ? std::optional(std::move(picture)) : std::nullopt;
}

Image image_of(const Rgba& picture) {
  std::vector<uint8_t> rgb(picture.pixels.size() / 4 * 3);
  for (size_t i = 0; i < picture.pixels.size() / 4; ++i) std::copy_n(picture.pixels.data() + 4 * i, 3, rgb.data() + 3 * i);
  return Image::from_pixels(picture.height, picture.width, rgb);
}

// White where it is transparent; nothing where all of it is opaque.
std::optional<Image> transparency(const Rgba& picture) {
  std::vector<uint8_t> rgb(picture.pixels.size() / 4 * 3);
  bool any = false;
  for (size_t i = 0; i < picture.pixels.size() / 4; ++i) {
    const auto clear = static_cast<uint8_t>(255 - picture.pixels[4 * i + 3]);
    any |= clear > 0;
    std::fill_n(rgb.data() + 3 * i, 3, clear);
  }
  return any ? std::optional(Image::from_pixels(picture.height, picture.width, rgb)) : std::nullopt;
}

}  // namespace

Image decoded_picture(std::string_view file, const std::string& field, int64_t most_pixels) {
  check(file, field, most_pixels);
  if (!file.starts_with(kPng) && !file.starts_with(kJpeg)) return image_of(webp_of(file, field));
  try {
    return Image::decode(std::as_bytes(std::span(file)), field);
  } catch (const UserError& error) {
    throw FieldError(field, error.what());
  }
}

Image decoded_mask(std::string_view file, const std::string& field, int64_t most_pixels) {
  check(file, field, most_pixels);
  std::optional<Rgba> picture;
  if (file.starts_with(kPng))
    picture = transparent_png(file);
  else if (!file.starts_with(kJpeg))
    picture = webp_of(file, field);
  if (picture && picture->has_alpha)
    if (auto mask = transparency(*picture)) return std::move(*mask);
  return decoded_picture(file, field, most_pixels);
}

Image inverted(const Image& mask) {
  std::vector<uint8_t> pixels = mask.pixels();
  for (uint8_t& value : pixels) value = static_cast<uint8_t>(255 - value);
  return Image::from_pixels(mask.height(), mask.width(), pixels);
}

std::string from_base64(std::string_view text, const std::string& field) {
  if (text.starts_with("data:")) text.remove_prefix(std::min(text.find(',') + 1, text.size()));
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  uint32_t bits = 0;
  int count = 0;
  size_t digits = 0;
  for (; digits < text.size() && text[digits] != '='; ++digits) {
    const char c = text[digits];
    uint32_t digit = 0;
    if (c >= 'A' && c <= 'Z')
      digit = static_cast<uint32_t>(c - 'A');
    else if (c >= 'a' && c <= 'z')
      digit = static_cast<uint32_t>(c - 'a') + 26;
    else if (c >= '0' && c <= '9')
      digit = static_cast<uint32_t>(c - '0') + 52;
    else if (c == '+' || c == '/')
      digit = c == '+' ? 62 : 63;
    else
      throw FieldError(field, cat(field, " is no base64: it has a character that base64 has not"));
    bits = (bits << 6 | digit) & 0xffffff;
    if ((count += 6) < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xff);
  }
  const size_t padding = text.size() - digits;
  if (digits % 4 == 1 || padding > 2 || text.substr(digits).find_first_not_of('=') != std::string_view::npos)
    throw FieldError(field, cat(field, " is no base64: its end is not one"));
  return bytes;
}

}  // namespace vivace::server
