#include "encode.h"

#include <cstdio>
// libjpeg's header needs the one above.
#include <jpeglib.h>
#include <webp/encode.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "base/log.h"
#include "fields.h"
#include "vivace/error.h"
#include "webp.h"

namespace vivace::server {
namespace {

// A comment's length stands in 16 bits, which count themselves.
constexpr size_t kMostComment = 65533;

struct Compressor {
  jpeg_compress_struct state{};
  jpeg_error_mgr errors{};
  unsigned char* bytes = nullptr;
  unsigned long size = 0;

  Compressor() {
    state.err = jpeg_std_error(&errors);
    // Its own ends the process. It may throw through libjpeg, which has no state that would be lost by that but what the destructor frees.
    errors.error_exit = [](j_common_ptr) { throw InternalError("libjpeg cannot write a picture"); };
    jpeg_create_compress(&state);
    jpeg_mem_dest(&state, &bytes, &size);
  }
  ~Compressor() {
    jpeg_destroy_compress(&state);
    std::free(bytes);
  }
  Compressor(const Compressor&) = delete;
};

std::string jpeg(const Image& image, int quality, const std::string& comment) {
  std::vector<uint8_t> pixels = image.pixels();
  Compressor compressor;
  jpeg_compress_struct& state = compressor.state;
  state.image_width = static_cast<JDIMENSION>(image.width());
  state.image_height = static_cast<JDIMENSION>(image.height());
  state.input_components = 3;
  state.in_color_space = JCS_RGB;
  jpeg_set_defaults(&state);
  jpeg_set_quality(&state, quality, TRUE);
  jpeg_start_compress(&state, TRUE);
  jpeg_write_marker(&state, JPEG_COM, reinterpret_cast<const JOCTET*>(comment.data()), static_cast<unsigned>(std::min(comment.size(), kMostComment)));
  for (size_t row = 0; row < static_cast<size_t>(image.height()); ++row) {
    JSAMPROW pointer = pixels.data() + row * static_cast<size_t>(image.width()) * 3;
    jpeg_write_scanlines(&state, &pointer, 1);
  }
  jpeg_finish_compress(&state);
  return {reinterpret_cast<const char*>(compressor.bytes), compressor.size};
}

std::string png(const Image& image, const std::string& settings) {
  const std::vector<uint8_t> bytes = image.png(settings.empty() ? TextChunks{} : TextChunks{{"parameters", settings}});
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string file_of(const Image& image, Format format, int quality, const std::string& settings) {
  switch (format) {
    case Format::png:
      return png(image, settings);
    case Format::jpeg:
      return jpeg(image, quality, settings);
    case Format::webp:
      return encode_webp(image, quality, settings);
  }
  throw InternalError("a format that is none");
}

}  // namespace

void check_format(Format format, int64_t height, int64_t width) {
  const int64_t most = format == Format::webp ? WEBP_MAX_DIMENSION : format == Format::jpeg ? JPEG_MAX_DIMENSION : INT64_MAX;
  if (std::max(height, width) > most)
    throw FieldError("output_format", cat("output_format is ", format_name(format), ", whose sides have at most ", most,
                                          " pixels, and the picture would have ", width, " x ", height));
}

Picture encoded(const Image& image, Format format, int quality, uint64_t seed, const std::string& settings) {
  check_format(format, image.height(), image.width());
  return {.bytes = file_of(image, format, quality, settings),
          .format = format,
          .height = image.height(),
          .width = image.width(),
          .seed = seed,
          .settings = settings};
}

std::string content_type(Format format) { return "image/" + format_name(format); }

std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t three = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    for (size_t j = 0; j < 3; ++j) three = three << 8 | (j < count ? static_cast<uint8_t>(bytes[i + j]) : 0);
    for (size_t j = 0; j < 4; ++j) text += j <= count ? kDigits[three >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

}  // namespace vivace::server
