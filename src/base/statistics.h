// Sums over numbers, in double precision.
#pragma once

#include <cmath>
#include <cstdint>

namespace vivace {

// Of `n` numbers, two at least, with n - 1 in the denominator, as torch.std has it.
template <class T>
double standard_deviation(const T* x, int64_t n) {
  double mean = 0, sum = 0;
  for (int64_t i = 0; i < n; ++i) mean += static_cast<float>(x[i]);
  mean /= static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) sum += (static_cast<float>(x[i]) - mean) * (static_cast<float>(x[i]) - mean);
  return std::sqrt(sum / static_cast<double>(n - 1));
}

}  // namespace vivace
