// How far tensors are from one another.
#pragma once

#include <gtest/gtest.h>

#include <cmath>

#include "vivace/tensor.h"

namespace vivace {

// RMS of the difference by that of `want`; both float32.
inline double difference(const Tensor& want, const Tensor& got) {
  EXPECT_EQ(want.shape(), got.shape());
  double error = 0, size = 0;
  for (int64_t i = 0; i < want.numel(); ++i) {
    error += std::pow(want.as<float>()[i] - got.as<float>()[i], 2);
    size += std::pow(want.as<float>()[i], 2);
  }
  return std::sqrt(error / size);
}

}  // namespace vivace
