#include "image/exif.h"

#include <cstring>
#include <utility>

namespace vivace {
namespace {

constexpr uint32_t kOrientation = 0x0112, kShort = 3, kLong = 4;

// Numbers of either byte order; 0 beyond the end.
struct Reader {
  std::span<const std::byte> bytes;
  bool big_endian = false;

  uint32_t number(size_t at, size_t size) const {
    if (at > bytes.size() || size > bytes.size() - at) return 0;
    uint32_t value = 0;
    for (size_t i = 0; i < size; ++i) value = value << 8 | static_cast<uint32_t>(bytes[at + (big_endian ? i : size - 1 - i)]);
    return value;
  }
};

int checked(uint32_t orientation) { return orientation >= 1 && orientation <= 8 ? static_cast<int>(orientation) : 0; }

}  // namespace

int exif_orientation(std::span<const std::byte> tiff) {
  if (tiff.size() < 8) return 0;
  const bool big_endian = std::memcmp(tiff.data(), "MM", 2) == 0;
  if (!big_endian && std::memcmp(tiff.data(), "II", 2) != 0) return 0;
  const Reader reader{tiff, big_endian};
  // The first directory: a count, then entries of 12 bytes: tag, type, count, value.
  const size_t directory = reader.number(4, 4), entries = reader.number(directory, 2);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + 12 * i;
    if (reader.number(entry, 2) != kOrientation) continue;
    const uint32_t type = reader.number(entry + 2, 2);
    return type == kShort ? checked(reader.number(entry + 8, 2)) : type == kLong ? checked(reader.number(entry + 8, 4)) : 0;
  }
  return 0;
}

int xmp_orientation(std::string_view xmp) {
  constexpr std::string_view kName = "tiff:Orientation";
  for (size_t at = xmp.find(kName); at != std::string_view::npos; at = xmp.find(kName, at + 1)) {
    const std::string_view rest = xmp.substr(at + kName.size());
    const size_t skip = rest.starts_with("=\"") ? 2 : rest.starts_with(">") ? 1 : 0;
    if (skip && rest.size() > skip && rest[skip] >= '0' && rest[skip] <= '9') return checked(static_cast<uint32_t>(rest[skip] - '0'));
  }
  return 0;
}

Decoded upright(Decoded picture) {
  const int turn = picture.orientation;
  if (turn == 1) return picture;
  const bool swapped = turn >= 5, from_right = turn == 2 || turn == 3 || turn == 7 || turn == 8,
             from_below = turn == 3 || turn == 4 || turn == 6 || turn == 7;
  Decoded result;
  result.height = swapped ? picture.width : picture.height;
  result.width = swapped ? picture.height : picture.width;
  result.rgb = std::make_unique_for_overwrite<uint8_t[]>(result.height * result.width * 3);
  uint8_t* to = result.rgb.get();
  for (size_t y = 0; y < result.height; ++y)
    for (size_t x = 0; x < result.width; ++x) {
      size_t row = swapped ? x : y, column = swapped ? y : x;
      if (from_below) row = picture.height - 1 - row;
      if (from_right) column = picture.width - 1 - column;
      std::memcpy(to, picture.rgb.get() + (row * picture.width + column) * 3, 3);
      to += 3;
    }
  return result;
}

}  // namespace vivace
