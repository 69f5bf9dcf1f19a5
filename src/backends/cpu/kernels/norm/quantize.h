// Rows of activations, float or quantised to 8 bits. Row kernels (norm.h, softmax.h, elementwise.h) write to a RowOutput, so that the
// quantisation of a row costs no trip through memory of its own.
#pragma once

#include <cstdint>

#include "base/stop.h"
#include "vivace/dtype.h"

namespace vivace::cpu {

// [rows, channels] of float32, bfloat16 or float16; `stride` elements lie between the starts of two rows.
struct RowInput {
  const void* data = nullptr;
  DType dtype = DType::float32;
  int64_t stride = 0;
};

// What a row's bytes mean: value ~ scale * (q - zero), q as uint8 or, with a zero of 0, as float8_e4m3. Of uint8 the bytes' range is the row's, from
// its least value, or 0, to its largest, or 0: what follows an activation lies on one side for the most part, and no byte is left for what does not
// occur. 0 is a byte itself.
struct RowScale {
  float scale = 0;
  int32_t zero = 0;  // 0 to 255
};

// dtype float32, bfloat16 or float16: values rounded to nearest even.
// dtype uint8 and float8_e4m3: by the row's own RowScale, value / scale rounded to nearest even; scale 0 for a row of zeros. float8_e4m3 has the bits
// of tensor/narrow_weight.h. A row that holds a NaN or an infinity gets scale NaN and q = zero = 0, so that whatever is computed from it is NaN.
struct RowOutput {
  void* data = nullptr;
  DType dtype = DType::float32;
  int64_t stride = 0;
  RowScale* scale = nullptr;  // [rows]; for quantised rows only, as what follows
  int64_t hadamard = 0;       // rows are turned in blocks of so many channels (hadamard_blocks) before they are quantised; 0: not
};

// Each block of `block` values (a power of two, 16 to kLargestBlock) times a symmetric orthogonal matrix of +-1 / sqrt(block), so that an outlier
// spreads over its block; twice is the identity. It is the Kronecker product of matrices [[1, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1],
// [-1, 1, 1, 1]] ("regular": all rows have the same sum), and where that leaves a factor of 2, [[1, 1], [1, -1]] outside. `to` may be `values`.
inline constexpr int64_t kLargestBlock = 256;
void hadamard_blocks(const float* values, int64_t count, int64_t block, float* to) noexcept;

// What row kernels return when no row was bad; otherwise the lowest row with a NaN or an infinity in what was to be quantised.
inline constexpr int64_t kNoBadRow = -1;

// y = x, quantised or cast.
int64_t quantize_rows(const RowInput& x, int64_t rows, int64_t channels, const RowOutput& y, Stop stop = nullptr) noexcept;

}  // namespace vivace::cpu
