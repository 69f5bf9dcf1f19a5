// The rule of kernels/int16_row.h in float64, for the tests of what multiplies int16.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace vivace::cpu {

// The step of a row of values at(0), .. at(n - 1): no value above 16383 steps, no row longer than 2^15.5 of them (16 for rounding).
template <class At>
double int16_step(int64_t n, const At& at) {
  double largest = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(at(i))), squares += at(i) * at(i);
  return std::max(largest / 16383, std::sqrt(squares) / (46340 - std::sqrt(static_cast<double>(n)) / 2 - 16)) * (1 + 1e-6);
}

}  // namespace vivace::cpu
