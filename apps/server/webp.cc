#include "webp.h"

#include <webp/decode.h>
#include <webp/encode.h>
#include <webp/mux.h>

#include <memory>

#include "vivace/error.h"

namespace vivace::server {
namespace {

const uint8_t* bytes_of(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

void put(std::string& out, uint32_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(value >> 8 * i & 0xff);
}

// UTF-8, which the text is known to be, as UTF-16, big end first.
std::string utf16(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<uint8_t>(text[i]);
    const int more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    uint32_t code = more == 0 ? first : first & (0x3f >> more);
    for (int j = 1; j <= more && i + static_cast<size_t>(j) < text.size(); ++j)
      code = code << 6 | (static_cast<uint8_t>(text[i + static_cast<size_t>(j)]) & 0x3f);
    i += static_cast<size_t>(more) + 1;
    if (code >= 0x10000) {
      put(out, 0xd800 + ((code - 0x10000) >> 10), 2);
      put(out, 0xdc00 + ((code - 0x10000) & 0x3ff), 2);
    } else {
      put(out, code, 2);
    }
  }
  return out;
}

// A TIFF block: a directory that points to EXIF's, which has one entry.
std::string exif_comment(const std::string& comment) {
  constexpr uint32_t kDirectory = 8, kExif = 26, kText = 44;
  constexpr uint32_t kExifPointer = 0x8769, kUserComment = 0x9286, kLong = 4, kUndefined = 7;
  const std::string text = std::string("UNICODE\0", 8) + utf16(comment);
  std::string out("MM\0*", 4);
  put(out, kDirectory, 4);
  const auto entry = [&](uint32_t tag, uint32_t type, uint32_t count, uint32_t value) {
    put(out, 1, 2);
    put(out, tag, 2);
    put(out, type, 2);
    put(out, count, 4);
    put(out, value, 4);
    put(out, 0, 4);  // no further directory
  };
  entry(kExifPointer, kLong, 1, kExif);
  entry(kUserComment, kUndefined, static_cast<uint32_t>(text.size()), kText);
  return out + text;
}

}  // namespace

std::string encode_webp(const Image& image, int quality, const std::string& comment) {
  uint8_t* encoded = nullptr;
  const size_t size = WebPEncodeRGB(image.pixels().data(), image.width(), image.height(), image.width() * 3, static_cast<float>(quality), &encoded);
  const std::unique_ptr<uint8_t, decltype(&WebPFree)> owned(encoded, WebPFree);
  if (size == 0) throw InternalError("libwebp cannot write a picture");
  if (comment.empty()) return {reinterpret_cast<const char*>(encoded), size};
  const WebPData file{encoded, size};
  const std::unique_ptr<WebPMux, decltype(&WebPMuxDelete)> mux(WebPMuxCreate(&file, 0), WebPMuxDelete);
  const std::string exif = exif_comment(comment);
  const WebPData chunk{bytes_of(exif), exif.size()};
  WebPData whole{};
  if (!mux || WebPMuxSetChunk(mux.get(), "EXIF", &chunk, 1) != WEBP_MUX_OK || WebPMuxAssemble(mux.get(), &whole) != WEBP_MUX_OK)
    throw InternalError("libwebp cannot write a picture");
  std::string result(reinterpret_cast<const char*>(whole.bytes), whole.size);
  WebPDataClear(&whole);
  return result;
}

std::optional<WebpSize> webp_size(std::string_view file) {
  WebpSize size;
  if (!WebPGetInfo(bytes_of(file), file.size(), &size.width, &size.height)) return std::nullopt;
  return size;
}

std::optional<Rgba> decode_webp(std::string_view file) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(bytes_of(file), file.size(), &features) != VP8_STATUS_OK || features.has_animation) return std::nullopt;
  Rgba picture{.height = features.height, .width = features.width, .has_alpha = features.has_alpha != 0, .pixels = {}};
  const size_t row = static_cast<size_t>(picture.width) * 4;
  picture.pixels.resize(row * static_cast<size_t>(picture.height));
  if (!WebPDecodeRGBAInto(bytes_of(file), file.size(), picture.pixels.data(), picture.pixels.size(), static_cast<int>(row))) return std::nullopt;
  return picture;
}

}  // namespace vivace::server
