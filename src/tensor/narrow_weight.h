// How a weight's row becomes 8 bits and a scale: int8 with scale size / 127, float8_e4m3 with scale size / 448. The size is the row's largest
// magnitude; for products of int8 also no less than largest_pair(). One rule for what is quantised as it is loaded and for what a checkpoint
// stores, on any machine, so that all hold the same bits.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/half.h"
#include "vivace/dtype.h"

namespace vivace {

// Whether a weight of that dtype has 8 bits, and a scale a row beside it.
inline bool is_narrow(DType dtype) { return dtype == DType::int8 || dtype == DType::float8_e4m3; }

class NarrowRow {
 public:
  // storage: int8 or float8_e4m3. size: anything else than finite where the row holds a NaN or an infinity.
  NarrowRow(DType storage, float size)
      : scale_(std::isfinite(size) ? size / (storage == DType::int8 ? 127.f : 448.f) : std::numeric_limits<float>::quiet_NaN()),
        // A scale whose inverse overflows belongs to a row of zeros; a bad row shows by its scale.
        inverse_(scale_ > 1e-38f ? 1.f / scale_ : 0.f) {}

  float scale() const { return scale_; }
  float inverse() const { return inverse_; }  // 0 for a bad row too
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

// The largest magnitude of x[2i] + x[2i + 1] where both have one sign. Such a pair of int8 weights adds up to 127, or by rounding to 128: 255 times
// that fits int16, in which processors without VNNI add the products with two unsigned bytes (vpmaddubsw saturates).
inline float largest_pair(const float* x, int64_t n) {
  float largest = 0;
  for (int64_t i = 0; i + 1 < n; i += 2) {
    const float sum = std::signbit(x[i]) == std::signbit(x[i + 1]) ? std::fabs(x[i] + x[i + 1]) : 0.f;
    largest = sum > largest ? sum : largest;
  }
  return largest;
}

}  // namespace vivace
