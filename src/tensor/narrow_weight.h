// How a weight's row becomes 8 bits and a scale: int8 with scale absmax / 127, float8_e4m3 with scale absmax / 448. One rule for what is quantised as it
// is loaded and for what a checkpoint stores, so that both hold the same bits.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/half.h"
#include "vivace/dtype.h"

namespace vivace {

class NarrowRow {
 public:
  // storage: int8 or float8_e4m3. absmax: the row's largest magnitude, anything else than finite where the row holds a NaN or an infinity.
  NarrowRow(DType storage, float absmax)
      : scale_(std::isfinite(absmax) ? absmax / (storage == DType::int8 ? 127.f : 448.f) : std::numeric_limits<float>::quiet_NaN()),
        // A scale whose inverse overflows belongs to a row of zeros; a bad row shows by its scale.
        inverse_(scale_ > 1e-38f ? 1.f / scale_ : 0.f) {}

  float scale() const { return scale_; }
  // To nearest even: what the sum with 1.5 * 2^23 keeps is an integer. Inlined, where nearbyint would be a call.
  int8_t int8(float x) const {
    constexpr float kInteger = 0x1.8p23f;
    return std::isnan(scale_) ? int8_t{0} : static_cast<int8_t>((std::clamp(x * inverse_, -127.f, 127.f) + kInteger) - kInteger);
  }
  f8e4m3 float8(float x) const { return f8e4m3(x * inverse_); }

 private:
  float scale_, inverse_;
};

// NaN when a magnitude is not finite.
inline float absmax(const float* x, int64_t n) {
  float largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float magnitude = std::fabs(x[i]);
    if (!(magnitude <= std::numeric_limits<float>::max())) return std::numeric_limits<float>::quiet_NaN();
    largest = std::max(largest, magnitude);
  }
  return largest;
}

}  // namespace vivace
