#include "quality/plane.h"

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {

Plane channel(const Image& image, int channel, double scale) {
  Plane plane(image.height(), image.width());
  const float* values = image.tensor().as<float>() + channel;
  for (size_t i = 0; i < plane.values.size(); ++i) plane.values[i] = scale * static_cast<double>(values[3 * i]);
  return plane;
}

void check_same_size(const Image& reference, const Image& image) {
  if (reference.empty() || image.empty()) throw UsageError("an empty picture can't be compared");
  if (reference.height() != image.height() || reference.width() != image.width())
    throw UsageError(cat("pictures of ", reference.height(), "x", reference.width(), " and ", image.height(), "x", image.width(),
                         " can't be compared: expected one size"));
}

}  // namespace vivace
