// Pictures: any bytes give an Image or a UserError of one line.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "vivace/error.h"
#include "vivace/image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    vivace::Image::decode(std::as_bytes(std::span(data, size)), "fuzz.jpg");
  } catch (const vivace::UserError& error) {
    if (std::string(error.what()).find('\n') != std::string::npos) std::abort();
  }
  return 0;
}
