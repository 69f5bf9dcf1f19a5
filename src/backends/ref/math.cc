#include <cmath>

#include "backends/ref/kernels.h"
#include "ops/positions.h"

namespace vivace::ref {
namespace {

// An elementwise op of one or two operands.
double apply(Elementwise op, const Attrs& attrs, double x, double y) {
  switch (op) {
    case Elementwise::add:
      return x + y;
    case Elementwise::sub:
      return x - y;
    case Elementwise::mul:
      return x * y;
    case Elementwise::div:
      return x / y;
    case Elementwise::silu:
      return x / (1 + std::exp(-x));
    case Elementwise::gelu:
      return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    case Elementwise::gelu_tanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Elementwise::quick_gelu:
      return x / (1 + std::exp(-1.702 * x));
    case Elementwise::relu:
      return x > 0 ? x : 0;
    case Elementwise::exp:
      return std::exp(x);
    case Elementwise::rsqrt:
      return 1 / std::sqrt(x);
    case Elementwise::affine:
      return x * attrs.real("scale", 1) + attrs.real("shift");
    case Elementwise::clamp:
      return std::fmin(std::fmax(x, attrs.real("min")), attrs.real("max"));
    case Elementwise::cast:
      return x;
  }
  return NAN;
}

}  // namespace

void elementwise(const Bound& k) {
  const Elementwise op = vivace::elementwise(k.call.op);
  each_index(k.out_shape(), [&, i = int64_t{0}](const auto& at) mutable {
    k.out(i++, apply(op, k.attrs, k.in(0, position(k.shape(0), at)), k.has(1) ? k.in(1, position(k.shape(1), at)) : 0));
  });
}

void reduce(const Bound& k) {
  const int64_t count = numel(k.shape(0)) / std::max<int64_t>(1, numel(k.out_shape()));
  std::vector<double> result(static_cast<size_t>(numel(k.out_shape())), k.call.op == Op::reduce_max ? -INFINITY : 0.0);
  each_index(k.shape(0), [&, i = int64_t{0}](const auto& at) mutable {
    double& r = result[static_cast<size_t>(position(k.out_shape(), at))];
    const double x = k.in(0, i++);
    r = k.call.op == Op::reduce_max ? std::fmax(r, x) : r + x;
  });
  for (size_t i = 0; i < result.size(); ++i)
    k.out(static_cast<int64_t>(i), k.call.op == Op::reduce_mean ? result[i] / static_cast<double>(count) : result[i]);
}

void matmul(const Bound& k) {
  const bool transposed = k.attrs.integer("transpose_b") != 0;
  const Shape &a = k.shape(0), &b = k.shape(1);
  const int64_t inner = a.back();
  each_index(k.out_shape(), [&, i = int64_t{0}](std::vector<int64_t> at) mutable {
    const int64_t row = at[at.size() - 2], column = at.back();
    double sum = 0;
    for (int64_t t = 0; t < inner; ++t) {
      at[at.size() - 2] = row;
      at.back() = t;
      const int64_t pa = position(a, at);
      at[at.size() - 2] = transposed ? column : t;
      at.back() = transposed ? t : column;
      sum += k.in(0, pa) * k.in(1, position(b, at));
    }
    k.out(i++, sum);
  });
}

void conv2d(const Bound& k) {
  // All that comes before the plane counts images.
  const auto as_images = [](const Shape& s) { return Shape{numel({s.begin(), s.end() - 3}), s.end()[-3], s.end()[-2], s.end()[-1]}; };
  const Shape x = as_images(k.shape(0)), y = as_images(k.out_shape());
  const Shape& w = k.shape(1);
  const auto& pad = k.attrs.integers("padding");
  const int64_t stride = k.attrs.integer("stride", 1), top = pad.empty() ? 0 : pad[0], left = pad.empty() ? 0 : pad[1];
  const auto act = find_op(k.attrs.text("act"));
  each_index(y, [&, i = int64_t{0}](const auto& at) mutable {
    const int64_t n = at[0], o = at[3];
    double sum = k.has(2) ? k.in(2, o) : 0;
    for (int64_t r = 0; r < w[2]; ++r)
      for (int64_t s = 0; s < w[3]; ++s) {
        const int64_t h = at[1] * stride + r - top, v = at[2] * stride + s - left;
        if (h < 0 || h >= x[1] || v < 0 || v >= x[2]) continue;
        for (int64_t c = 0; c < x[3]; ++c) sum += k.in(0, ((n * x[1] + h) * x[2] + v) * x[3] + c) * k.in(1, ((o * w[1] + c) * w[2] + r) * w[3] + s);
      }
    if (k.has(3)) sum += k.in(3, n * y[3] + o);
    if (act) sum = apply(vivace::elementwise(*act), k.attrs, sum, 0);
    if (k.has(4)) sum += k.in(4, i);
    k.out(i++, sum);
  });
}

void sinusoid(const Bound& k) {
  const int64_t dim = k.attrs.integer("dim"), half = dim / 2;
  const bool flip = k.attrs.integer("flip_sin_to_cos") != 0;
  for (int64_t n = 0; n < k.out_shape()[0]; ++n)
    for (int64_t j = 0; j < dim; ++j) {
      // The frequency is rounded to float32, as the reference rounds it: at t = 999 the rounding shows.
      const auto exponent = static_cast<float>(-std::log(10000.0)) * static_cast<float>(j % half) /
                            static_cast<float>(static_cast<double>(half) - k.attrs.real("downscale_freq_shift"));
      const float angle = static_cast<float>(k.attrs.real("scale", 1)) *
                          (static_cast<float>(k.in(0, n)) * static_cast<float>(std::exp(static_cast<double>(exponent))));
      const bool cosine = (j < half) == flip;
      k.out(n * dim + j, j >= 2 * half ? 0.0 : cosine ? std::cos(angle) : std::sin(angle));
    }
}

void rotary_table(const Bound& k) {
  const auto& dims = k.attrs.integers("dims");
  for (int64_t t = 0, i = 0; t < k.out_shape()[0]; ++t)
    for (size_t axis = 0; axis < dims.size(); ++axis)
      for (int64_t j = 0; j < dims[axis]; j += 2) {
        const double angle = k.in(0, t * static_cast<int64_t>(dims.size()) + static_cast<int64_t>(axis)) /
                             std::pow(k.attrs.real("theta"), static_cast<double>(j) / static_cast<double>(dims[axis]));
        k.out(i++, std::cos(angle));
        k.out(i++, std::sin(angle));
      }
}

void relative_position_bias(const Bound& k) {
  each_index(k.out_shape(), [&, i = int64_t{0}](const auto& at) mutable {
    const int64_t bucket = relative_position_bucket(at[3] - at[2], k.shape(0)[0], k.attrs.integer("max_distance"));
    k.out(i++, k.in(0, bucket * k.shape(0)[1] + at[1]));
  });
}

}  // namespace vivace::ref
