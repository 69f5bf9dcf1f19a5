// Rows as int16 with a scale, for Compute::int16_dynamic: as fine as int32 sums allow.
//
// A sum of products is at most the product of the two rows' Euclidean norms (Cauchy-Schwarz), so with norms below 2^15.5 it fits int32 for any k; a largest
// value of 16383 leaves room for the sums of two in Strassen's algorithm. A normal row of 1280 then has steps of 1/1295 of its standard deviation, and
// one with a single huge value still steps of 1/16383 of that.
#pragma once

#include "backends/cpu/kernels/gemm/level.h"

namespace vivace::cpu::gemm_detail {

inline constexpr float kInt16Most = 16383;

// x = scale * int16(x * inverse)
struct Int16Row {
  float scale = 1, inverse = 0;  // NaN and 0 where the row holds a NaN or an infinity; 0 and 0 for a row of zeros

  Int16Row() = default;
  Int16Row(RowSize size, int64_t k);
};

// Rows of A, float32, bfloat16 or float16 and lda bytes apart, to [m][stride / 2] with zeros behind the k'th. Parallel.
void quantize_int16(const Level& level, Elem given, const char* a, int64_t lda, int64_t m, int64_t k, char* to, int64_t stride, float* scales);

}  // namespace vivace::cpu::gemm_detail
