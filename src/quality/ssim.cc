#include <array>
#include <cmath>

#include "base/log.h"
#include "quality/plane.h"
#include "vivace/error.h"
#include "vivace/quality.h"

namespace vivace {
namespace {

constexpr int kWindow = 11;
constexpr double kSigma = 1.5, kC1 = 0.01 * 0.01, kC2 = 0.03 * 0.03;

std::array<double, kWindow> gaussian() {
  std::array<double, kWindow> weights;
  double sum = 0;
  for (int i = 0; i < kWindow; ++i) {
    const double d = i - kWindow / 2;
    weights[static_cast<size_t>(i)] = std::exp(-d * d / (2 * kSigma * kSigma));
    sum += weights[static_cast<size_t>(i)];
  }
  for (double& w : weights) w /= sum;
  return weights;
}

// The weighted mean of f(i) over every whole window, i being the index of a value of an image of this size.
template <class F>
Plane window_means(int height, int width, const F& f) {
  static const std::array<double, kWindow> weights = gaussian();
  Plane rows(height, width - kWindow + 1), means(height - kWindow + 1, width - kWindow + 1);
  for (int y = 0; y < height; ++y)
    for (int i = 0; i < kWindow; ++i)
      for (int x = 0; x < rows.width; ++x) {
        const size_t at = static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x + i);
        rows.at(y, x) += weights[static_cast<size_t>(i)] * f(at);
      }
  for (int y = 0; y < means.height; ++y)
    for (int i = 0; i < kWindow; ++i)
      for (int x = 0; x < means.width; ++x) means.at(y, x) += weights[static_cast<size_t>(i)] * rows.at(y + i, x);
  return means;
}

double channel_ssim(const Plane& a, const Plane& b) {
  const auto means = [&](const auto& f) { return window_means(a.height, a.width, f); };
  const Plane ma = means([&](size_t i) { return a.values[i]; }), mb = means([&](size_t i) { return b.values[i]; });
  const Plane aa = means([&](size_t i) { return a.values[i] * a.values[i]; }), bb = means([&](size_t i) { return b.values[i] * b.values[i]; });
  const Plane ab = means([&](size_t i) { return a.values[i] * b.values[i]; });
  double sum = 0;
  for (size_t i = 0; i < ma.values.size(); ++i) {
    const double x = ma.values[i], y = mb.values[i], covariance = ab.values[i] - x * y, variances = aa.values[i] - x * x + bb.values[i] - y * y;
    sum += (2 * x * y + kC1) * (2 * covariance + kC2) / ((x * x + y * y + kC1) * (variances + kC2));
  }
  return sum / static_cast<double>(ma.values.size());
}

}  // namespace

double ssim(const Image& reference, const Image& image) {
  check_same_size(reference, image);
  if (reference.height() < kWindow || reference.width() < kWindow)
    throw UsageError(cat("SSIM needs ", kWindow, " pixels a side, got ", reference.height(), "x", reference.width()));
  double sum = 0;
  for (int c = 0; c < 3; ++c) sum += channel_ssim(channel(reference, c), channel(image, c));
  return sum / 3;
}

}  // namespace vivace
