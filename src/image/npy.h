// NumPy's .npy files.
#pragma once

#include <string>

#include "base/log.h"
#include "vivace/tensor.h"

namespace vivace {

// The header, of format 1.0, that float32 values of that shape follow; these begin at a multiple of 64.
inline std::string npy_header(const Shape& shape) {
  constexpr size_t kPreamble = 10;  // magic, version, length of the rest
  std::string sizes;
  for (int64_t n : shape) sizes += cat(sizes.empty() ? "" : ", ", n);
  std::string dict = cat("{'descr': '<f4', 'fortran_order': False, 'shape': (", sizes, "), }");
  dict.resize((kPreamble + dict.size() + 1 + 63) / 64 * 64 - kPreamble - 1, ' ');
  dict += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(dict.size() & 0xff);
  header += static_cast<char>(dict.size() >> 8);
  return header + dict;
}

}  // namespace vivace
