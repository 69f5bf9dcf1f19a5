#include "decode.h"

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "base/log.h"
#include "fields.h"
#include "image/exif.h"
#include "image/jpeg.h"
#include "image/png.h"
#include "webp.h"

namespace vivace::server {
namespace {

std::span<const std::byte> bytes_of_file(std::string_view file) { return std::as_bytes(std::span(file)); }

// What `read` finds wrong with a file is the field's fault.
template <class Read>
auto of_field(const std::string& field, const Read& read) {
  try {
    return read();
  } catch (const UserError& error) {
    throw FieldError(field, error.what());
  }
}

Rgba webp_of(std::string_view file, const std::string& field, int64_t most_pixels) {
  const auto size = webp_size(file);
  if (!size) throw FieldError(field, cat(field, " is no picture: expected a PNG, JPEG or WebP file"));
  vivace::check_pixels(static_cast<uint64_t>(size->height), static_cast<uint64_t>(size->width), field, most_pixels);
  auto picture = decode_webp(file);
  if (!picture) throw FieldError(field, cat(field, " is a WebP file that is damaged or moves: expected a picture"));
  return std::move(*picture);
}

// White where it is transparent; nothing where all of it is opaque.
std::optional<Image> transparency_of_png(std::string_view file, const std::string& field, int64_t most_pixels) {
  auto stored = decode_png_transparency(bytes_of_file(file), field, most_pixels);
  if (!stored) return std::nullopt;
  const Decoded mask = upright(std::move(*stored));
  return Image::from_pixels(static_cast<int>(mask.height), static_cast<int>(mask.width), {mask.rgb.get(), mask.height * mask.width * 3});
}

Image image_of(const Rgba& picture) {
  std::vector<uint8_t> rgb(picture.pixels.size() / 4 * 3);
  for (size_t i = 0; i < picture.pixels.size() / 4; ++i) std::copy_n(picture.pixels.data() + 4 * i, 3, rgb.data() + 3 * i);
  return Image::from_pixels(picture.height, picture.width, rgb);
}

// As transparency_of_png.
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
  return of_field(field, [&] {
    const auto bytes = bytes_of_file(file);
    return is_png(bytes) || is_jpeg(bytes) ? Image::decode(bytes, field, most_pixels) : image_of(webp_of(file, field, most_pixels));
  });
}

Image decoded_mask(std::string_view file, const std::string& field, int64_t most_pixels) {
  auto mask = of_field(field, [&]() -> std::optional<Image> {
    if (is_png(bytes_of_file(file))) return transparency_of_png(file, field, most_pixels);
    if (is_jpeg(bytes_of_file(file))) return std::nullopt;
    const Rgba picture = webp_of(file, field, most_pixels);
    return picture.has_alpha ? transparency(picture) : std::nullopt;
  });
  return mask ? std::move(*mask) : decoded_picture(file, field, most_pixels);
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
