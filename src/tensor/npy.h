// NumPy's .npy files: a header in words, then the values, row by row.
#pragma once

#include <filesystem>
#include <string>

#include "vivace/tensor.h"

namespace vivace {

// The header, of format 1.0, that float32 values of that shape follow; these begin at a multiple of 64.
std::string npy_header(const Shape& shape);
// Writes a float32 tensor, whole or not at all. Throws UserError that names the file.
void save_npy(const std::filesystem::path& path, const Tensor& values);
// As float32, from little-endian float16, float32 or float64. Throws UserError that names the file: no .npy, another dtype, columns first, a size
// that is not the header's.
Tensor load_npy(const std::filesystem::path& path);

}  // namespace vivace
