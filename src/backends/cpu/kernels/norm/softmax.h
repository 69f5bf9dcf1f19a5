// Softmax over the rows of a matrix.
#pragma once

#include "backends/cpu/kernels/norm/quantize.h"

namespace vivace::cpu {

// y = softmax(scale * x) over each row of [rows, channels], in float32; y: a float dtype, may be x itself when dtype and stride agree. A row of
// -infinities gives NaN, as in PyTorch. Any length of row.
void softmax_rows(const RowInput& x, int64_t rows, int64_t channels, float scale, const RowOutput& y, Stop stop = nullptr) noexcept;

}  // namespace vivace::cpu
