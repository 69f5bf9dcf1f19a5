// The safetensors header. The input is tried as a whole file and as a header to which a fitting length and some data are put.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "vivace/error.h"
#include "weights/safetensors.h"

namespace {

void read(const std::string& file) {
  const auto bytes = std::as_bytes(std::span(file.data(), file.size()));
  try {
    const vivace::TensorFileHeader header = vivace::parse_safetensors(bytes, "fuzz");
    // What is accepted must lie in the file and fill it.
    uint64_t end = 0;
    for (const auto& entry : header.entries) {
      const uint64_t size = static_cast<uint64_t>(vivace::numel(entry.shape)) * vivace::dtype_size(entry.dtype);
      if (entry.begin != end || entry.end - entry.begin != size) std::abort();
      end = entry.end;
    }
    if (header.data_offset + end != file.size()) std::abort();
  } catch (const vivace::UserError& error) {
    if (std::string(error.what()).find('\n') != std::string::npos) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  read(std::string(reinterpret_cast<const char*>(data), size));
  if (size == 0) return 0;
  const std::string header(reinterpret_cast<const char*>(data) + 1, size - 1);
  const uint64_t length = header.size();
  read(std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header + std::string(data[0], 'x'));
  return 0;
}
