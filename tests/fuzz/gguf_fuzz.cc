// A GGUF file's header. The input is tried as it is and behind the magic number.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "vivace/error.h"
#include "weights/gguf.h"

namespace {

void read(const std::string& file) {
  const auto bytes = std::as_bytes(std::span(file.data(), file.size()));
  try {
    const vivace::TensorFileHeader header = vivace::parse_gguf(bytes, "fuzz");
    // What is accepted must lie in the file, one tensor behind the other.
    uint64_t end = 0;
    for (const auto& entry : header.entries) {
      const uint64_t size = static_cast<uint64_t>(vivace::numel(entry.shape)) * vivace::dtype_size(entry.dtype);
      if (entry.begin < end || entry.end - entry.begin != size || header.data_offset + entry.end > file.size()) std::abort();
      end = entry.end;
    }
  } catch (const vivace::UserError& error) {
    if (std::string(error.what()).find('\n') != std::string::npos) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  read(text);
  read("GGUF" + text);
  return 0;
}
