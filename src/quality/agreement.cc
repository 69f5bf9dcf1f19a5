// The measures that look at values alone.
#include <cmath>
#include <limits>

#include "base/log.h"
#include "quality/plane.h"
#include "vivace/error.h"
#include "vivace/quality.h"

namespace vivace {
namespace {

struct Sums {
  double reference2 = 0, value2 = 0, product = 0, difference2 = 0;
};

Sums sums(const Tensor& reference, const Tensor& value) {
  if (reference.shape() != value.shape())
    throw UsageError(
        cat("tensors of shape ", to_string(reference.shape()), " and ", to_string(value.shape()), " can't be compared: expected one shape"));
  Sums s;
  const float *a = reference.floats().data(), *b = value.floats().data();
  for (int64_t i = 0; i < reference.numel(); ++i) {
    const double x = a[i], y = b[i];
    s.reference2 += x * x;
    s.value2 += y * y;
    s.product += x * y;
    s.difference2 += (x - y) * (x - y);
  }
  return s;
}

}  // namespace

double psnr(const Image& reference, const Image& image) {
  check_same_size(reference, image);
  const double mean = sums(reference.tensor(), image.tensor()).difference2 / static_cast<double>(reference.tensor().numel());
  return mean == 0 ? std::numeric_limits<double>::infinity() : -10 * std::log10(mean);
}

double cosine_similarity(const Tensor& reference, const Tensor& value) {
  const Sums s = sums(reference, value);
  if (s.difference2 == 0) return 1;
  return s.reference2 == 0 || s.value2 == 0 ? 0 : s.product / std::sqrt(s.reference2 * s.value2);
}

double relative_rms(const Tensor& reference, const Tensor& value) {
  const Sums s = sums(reference, value);
  if (s.difference2 == 0) return 0;
  return s.reference2 == 0 ? std::numeric_limits<double>::infinity() : std::sqrt(s.difference2 / s.reference2);
}

}  // namespace vivace
