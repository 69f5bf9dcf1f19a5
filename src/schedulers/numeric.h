// The pieces of NumPy, PyTorch and SciPy that Diffusers builds its tables with, in the same precision and order of operations, so that
// tables agree to the last bit where a later rounding to integers would make a whole step of the difference.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace vivace {

// numpy.linspace, float64. With endpoint, the last value is `stop` itself; without, n values of a grid of n steps.
std::vector<double> linspace(double start, double stop, int64_t n, bool endpoint = true);
// torch.linspace, float32: each half is counted from its own end, with a fused multiply-add.
std::vector<float> linspace_float(float start, float stop, int64_t n);
// numpy.arange, float64. Its length is ceil((stop - start) / step), whatever rounding makes of it.
std::vector<double> arange(double start, double stop, double step);
// numpy.interp over the abscissae 0, 1, ..., clamped at both ends.
double interpolate(double x, std::span<const float> values);

// numpy.log of float32, whose SIMD kernel is off by up to 4 units in the last place: n-th timesteps found by searching these logarithms
// are truncated to integers afterwards.
float numpy_log(float x);
// torch's float32 exp, expm1 and log: within one unit in the last place; correctly rounded here.
float exp_float(float x);
float expm1_float(float x);
float log_float(float x);

// The inverse of the regularised incomplete beta function (scipy.stats.beta.ppf): x with I_x(a, b) = p. 0 <= p <= 1, a and b > 0.
double beta_ppf(double p, double a, double b);

// The integral from `from` to `to` of the Lagrange polynomial that is 1 at points[k] and 0 at the others; up to four points.
double integrate_lagrange(std::span<const double> points, int k, double from, double to);

// Solves A x = b in float32 by elimination with partial pivoting (torch.linalg.solve). A is n x n, row-major.
std::vector<float> solve(std::vector<float> a, std::vector<float> b);

}  // namespace vivace
