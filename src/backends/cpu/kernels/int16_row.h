// A row of float32 as int16 with a scale, as fine as int32 sums of its products with such another row allow.
//
// A sum of products is at most the product of the two rows' Euclidean norms (Cauchy-Schwarz), so with norms below 2^15.5 it fits int32 for any k; a
// largest value of 16383 leaves room for the sums of two in Strassen's algorithm. A normal row of 1280 then has steps of 1/1295 of its standard
// deviation, and one with a single huge value still steps of 1/16383 of that.
#pragma once

#include <cstdint>

namespace vivace::cpu {

// What of a row decides: found by the kernels of each instruction set.
struct RowSize {
  int32_t largest = 0;  // the bits of its largest magnitude as float32
  float squares = 0;    // their sum
};

// x = scale * int16(x * inverse), to nearest even.
struct Int16Row {
  float scale = 1, inverse = 0;  // NaN and 0 where the row holds a NaN or an infinity; 0 and 0 for a row of zeros

  Int16Row() = default;
  // `norm`: what the row's may be; the other one's is 2^31 divided by it.
  Int16Row(RowSize size, int64_t k, float norm = 46340.f);
};

}  // namespace vivace::cpu
