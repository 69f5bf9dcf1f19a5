// One channel of a picture, for metrics that filter.
#pragma once

#include <cstddef>
#include <vector>

#include "vivace/image.h"

namespace vivace {

struct Plane {
  int height = 0, width = 0;
  std::vector<double> values;  // row-major

  Plane(int height, int width) : height(height), width(width), values(static_cast<size_t>(height) * static_cast<size_t>(width)) {}
  double& at(int y, int x) { return values[static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)]; }
  double at(int y, int x) const { return values[static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)]; }
};

// Channel 0, 1 or 2 times `scale`.
Plane channel(const Image& image, int channel, double scale = 1);

// Throws UsageError unless both are pictures of one size.
void check_same_size(const Image& reference, const Image& image);

}  // namespace vivace
