#include "schedulers/numeric.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

namespace vivace {

std::vector<double> linspace(double start, double stop, int64_t n, bool endpoint) {
  std::vector<double> values(static_cast<size_t>(std::max<int64_t>(n, 0)));
  const int64_t steps = endpoint ? n - 1 : n;
  const double step = steps > 0 ? (stop - start) / static_cast<double>(steps) : 0;
  for (int64_t i = 0; i < n; ++i) values[i] = static_cast<double>(i) * step + start;
  if (endpoint && n > 1) values.back() = stop;
  return values;
}

std::vector<float> linspace_float(float start, float stop, int64_t n) {
  std::vector<float> values(static_cast<size_t>(n), start);
  if (n < 2) return values;
  const float step = (stop - start) / static_cast<float>(n - 1);
  for (int64_t i = 0; i < n; ++i)
    values[i] = i < n / 2 ? std::fma(step, static_cast<float>(i), start) : std::fma(-step, static_cast<float>(n - i - 1), stop);
  return values;
}

std::vector<double> arange(double start, double stop, double step) {
  const auto n = static_cast<int64_t>(std::ceil((stop - start) / step));
  const double delta = (start + step) - start;  // NumPy fills from the first two values
  std::vector<double> values(static_cast<size_t>(std::max<int64_t>(n, 0)));
  for (int64_t i = 0; i < n; ++i) values[i] = start + static_cast<double>(i) * delta;
  return values;
}

double interpolate(double x, std::span<const float> values) {
  const double last = static_cast<double>(values.size() - 1);
  if (!(x > 0)) return values.front();
  if (x >= last) return values.back();
  const auto i = static_cast<size_t>(x);
  const double low = values[i], high = values[i + 1];
  return (high - low) * (x - static_cast<double>(i)) + low;
}

float numpy_log(float x) {
  if (!(x >= std::numeric_limits<float>::min()) || std::isinf(x)) return std::log(x);
  // x = m 2^e with m in (sqrt(1/2), sqrt 2]; ln m is a quotient of two polynomials of degree 5 in m - 1.
  const auto bits = std::bit_cast<uint32_t>(x);
  float e = static_cast<float>(static_cast<int32_t>(bits >> 23) - 126);
  float m = std::bit_cast<float>((bits & 0x7fffffu) | 0x3f000000u);
  if (m <= 0.707106781186547524f) {
    m += m;
    e -= 1.f;
  }
  constexpr float kP[] = {2.589979117907922693523e-2f, 3.808837741388407920751e-1f, 1.480000633576506585156f,
                          2.112677543073053063722f,    9.999999999999998702752e-1f, 0.f};
  constexpr float kQ[] = {5.875095403124574342950e-3f, 1.546476374983906719538e-1f, 9.864942958519418960339e-1f,
                          2.453006071784736363091f,    2.612677543073109236779f,    1.f};
  const float y = m - 1.f;
  float p = kP[0], q = kQ[0];
  for (int i = 1; i < 6; ++i) {
    p = std::fma(p, y, kP[i]);
    q = std::fma(q, y, kQ[i]);
  }
  return std::fma(e, 0.693147180559945309f, p / q);
}

float exp_float(float x) { return static_cast<float>(std::exp(static_cast<double>(x))); }
float expm1_float(float x) { return static_cast<float>(std::expm1(static_cast<double>(x))); }
float log_float(float x) { return static_cast<float>(std::log(static_cast<double>(x))); }

namespace {

// I_x(a, b) by its continued fraction (modified Lentz), which converges fast for x < (a + 1) / (a + b + 2).
double incomplete_beta(double x, double a, double b) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incomplete_beta(1 - x, b, a);
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x)) / a;
  constexpr double kTiny = 1e-300;
  const auto away_from_zero = [](double v) { return std::abs(v) < kTiny ? kTiny : v; };
  double c = 1, d = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), h = d;
  for (int m = 1; m <= 300; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away_from_zero(1 + even * d);
    c = away_from_zero(1 + even / c);
    h *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away_from_zero(1 + odd * d);
    c = away_from_zero(1 + odd / c);
    const double change = d * c;
    h *= change;
    if (std::abs(change - 1) < std::numeric_limits<double>::epsilon()) break;
  }
  return front * h;
}

// The lower half, where the answer keeps its relative accuracy: Newton's method kept inside a shrinking bracket.
double beta_ppf_lower(double p, double a, double b) {
  const double log_beta = std::lgamma(a) + std::lgamma(b) - std::lgamma(a + b);
  double low = 0, high = 1, x = std::min(0.5, std::exp((std::log(p * a) + log_beta) / a));  // from I_x ~ x^a / (a B) near zero
  for (int i = 0; i < 200; ++i) {
    const double error = incomplete_beta(x, a, b) - p;
    (error > 0 ? high : low) = x;
    double next = x - error / std::exp((a - 1) * std::log(x) + (b - 1) * std::log1p(-x) - log_beta);
    if (!(next > low && next < high)) next = (low + high) / 2;
    const bool done = std::abs(next - x) <= std::numeric_limits<double>::epsilon() * x;
    x = next;
    if (done) break;
  }
  return x;
}

}  // namespace

double beta_ppf(double p, double a, double b) {
  if (p <= 0) return 0;
  if (p >= 1) return 1;
  return p <= incomplete_beta(0.5, a, b) ? beta_ppf_lower(p, a, b) : 1 - beta_ppf_lower(1 - p, b, a);
}

double integrate_lagrange(std::span<const double> points, int k, double from, double to) {
  const auto at = [&](double x) {
    double product = 1;
    for (size_t j = 0; j < points.size(); ++j)
      if (j != static_cast<size_t>(k)) product *= (x - points[j]) / (points[k] - points[j]);
    return product;
  };
  // Gauss and Legendre's two points are exact up to the third degree.
  const double middle = (from + to) / 2, half = (to - from) / 2, offset = half / std::numbers::sqrt3;
  return half * (at(middle - offset) + at(middle + offset));
}

std::vector<float> solve(std::vector<float> a, std::vector<float> b) {
  const size_t n = b.size();
  for (size_t k = 0; k < n; ++k) {
    size_t pivot = k;
    for (size_t r = k + 1; r < n; ++r)
      if (std::abs(a[r * n + k]) > std::abs(a[pivot * n + k])) pivot = r;
    if (pivot != k) {
      for (size_t c = 0; c < n; ++c) std::swap(a[k * n + c], a[pivot * n + c]);
      std::swap(b[k], b[pivot]);
    }
    for (size_t r = k + 1; r < n; ++r) {
      const float factor = a[r * n + k] / a[k * n + k];
      for (size_t c = k + 1; c < n; ++c) a[r * n + c] -= factor * a[k * n + c];
      b[r] -= factor * b[k];
    }
  }
  for (size_t k = n; k-- > 0;) {
    for (size_t c = k + 1; c < n; ++c) b[k] -= a[k * n + c] * b[c];
    b[k] /= a[k * n + k];
  }
  return b;
}

}  // namespace vivace
