#include <algorithm>
#include <cmath>
#include <complex>

#include "quality/plane.h"
#include "vivace/quality.h"

namespace vivace {
namespace {

// The paper's constants, for values of 0..255.
constexpr double kMdsiC1 = 140, kMdsiC2 = 55, kMdsiC3 = 550, kAlpha = 0.6, kQ = 0.25;

// Blocks of `factor` pixels a side become their mean, as a box filter centred on every factor-th pixel; zeros lie outside of the picture.
Plane shrink(const Plane& plane, int factor) {
  if (factor == 1) return plane;
  const int before = (factor - 1) / 2;
  Plane small((plane.height + factor - 1) / factor, (plane.width + factor - 1) / factor);
  for (int y = 0; y < small.height; ++y)
    for (int x = 0; x < small.width; ++x) {
      for (int i = std::max(0, y * factor - before); i < std::min(plane.height, (y + 1) * factor - before); ++i)
        for (int j = std::max(0, x * factor - before); j < std::min(plane.width, (x + 1) * factor - before); ++j) small.at(y, x) += plane.at(i, j);
      small.at(y, x) /= factor * factor;
    }
  return small;
}

struct Channels {
  Plane l, h, m;  // luminance and two chromaticities
};

Channels channels(const Image& image, int factor) {
  const Plane r = shrink(channel(image, 0, 255), factor), g = shrink(channel(image, 1, 255), factor), b = shrink(channel(image, 2, 255), factor);
  const auto mix = [&](double wr, double wg, double wb) {
    Plane sum(r.height, r.width);
    for (size_t i = 0; i < sum.values.size(); ++i) sum.values[i] = wr * r.values[i] + wg * g.values[i] + wb * b.values[i];
    return sum;
  };
  return {mix(0.2989, 0.587, 0.114), mix(0.3, 0.04, -0.35), mix(0.34, -0.6, 0.17)};
}

// Length of Prewitt's gradient, zeros outside.
Plane gradient(const Plane& p) {
  Plane result(p.height, p.width);
  const auto value = [&](int y, int x) { return y < 0 || x < 0 || y >= p.height || x >= p.width ? 0.0 : p.at(y, x); };
  for (int y = 0; y < p.height; ++y)
    for (int x = 0; x < p.width; ++x) {
      double across = 0, down = 0;
      for (int i = -1; i <= 1; ++i) {
        across += value(y + i, x + 1) - value(y + i, x - 1);
        down += value(y + 1, x + i) - value(y - 1, x + i);
      }
      result.at(y, x) = std::hypot(across, down) / 3;
    }
  return result;
}

double similarity(double a, double b, double c) { return (2 * a * b + c) / (a * a + b * b + c); }

}  // namespace

double mdsi(const Image& reference, const Image& image) {
  check_same_size(reference, image);
  const int factor = std::max(1, static_cast<int>(std::lround(std::min(reference.height(), reference.width()) / 256.0)));
  const Channels a = channels(reference, factor), b = channels(image, factor);
  Plane both = a.l;
  for (size_t i = 0; i < both.values.size(); ++i) both.values[i] = (a.l.values[i] + b.l.values[i]) / 2;
  const Plane ga = gradient(a.l), gb = gradient(b.l), gf = gradient(both);
  // Similarities can be negative; their roots are complex then, in the paper too.
  std::vector<std::complex<double>> roots(both.values.size());
  std::complex<double> mean = 0;
  for (size_t i = 0; i < roots.size(); ++i) {
    const double x = ga.values[i], y = gb.values[i], fused = gf.values[i];
    const double gradients = similarity(x, y, kMdsiC1) + similarity(y, fused, kMdsiC2) - similarity(x, fused, kMdsiC2);
    const double ha = a.h.values[i], ma = a.m.values[i], hb = b.h.values[i], mb = b.m.values[i];
    const double chroma = (2 * (ha * hb + ma * mb) + kMdsiC3) / (ha * ha + hb * hb + ma * ma + mb * mb + kMdsiC3);
    roots[i] = std::pow(std::complex<double>(kAlpha * gradients + (1 - kAlpha) * chroma), kQ);
    mean += roots[i];
  }
  const auto count = static_cast<double>(roots.size());
  mean /= count;  // once, at the end: equal pictures then have a deviation of exactly 0, whose fourth root would not forgive a rounding
  double deviation = 0;
  for (const auto& root : roots) deviation += std::abs(root - mean);
  return std::pow(deviation / count, kQ);
}

}  // namespace vivace
