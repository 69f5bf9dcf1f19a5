// Pictures that a request brings: any bytes give an Image or a UsageError of one line.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "decode.h"
#include "fields.h"

using namespace vivace::server;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  constexpr int64_t kMostPixels = 1 << 20;
  for (const auto read : {decoded_picture, decoded_mask}) try {
      const vivace::Image image = read(file, "image", kMostPixels);
      if (int64_t{image.height()} * image.width() > kMostPixels) std::abort();
    } catch (const vivace::UsageError& error) {
      if (std::string(error.what()).find('\n') != std::string::npos) std::abort();
    }
  try {
    from_base64(file, "image");
  } catch (const FieldError&) {
  }
  return 0;
}
