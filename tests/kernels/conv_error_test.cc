// Rounding errors on real numbers: bounded, and as large as rounding the factors makes them.
#include <array>
#include <numeric>

#include "conv_matrices.h"
#include "conv_problem.h"
#include "conv_simulation.h"
#include "int16_step.h"

namespace vivace::cpu::conv_test {
namespace {

// What one output's error can be (`most`) and is likely to be (`variance`), from the operands themselves.
struct ErrorBound {
  std::vector<double> most, variance;
};

// Every product's two factors carry a relative error of at most u each, uniform and independent (variance u^2 / 3 each); float32 sums of k terms
// add at most k and, as a random walk whose steps are half of a partial sum's unit, about sqrt(k) roundings. Linear transforms carry absolute
// values to bounds and squares to variances.
ErrorBound bound_of(std::string_view kernel, const Problem& p) {
  const Matrices m = matrices_of(kernel);
  const ConvSpec& s = p.c.spec;
  const int64_t ci = s.in_channels, co = s.out_channels, up = s.upsample2x ? 2 : 1, ih = p.c.h * up, iw = p.c.w * up;
  const int positions = m.pos * m.pos;
  const bool transformed = kernel.find("winograd") != std::string_view::npos;
  const double u = unit_roundoff(s.compute), u32 = unit_roundoff(DType::float32);
  const double weight_u = s.compute == DType::float32 && !transformed ? unit_roundoff(s.w) : u;
  const double transforms = 2.0 * m.in + 2.0 * m.pos;  // float32 operations before and after
  const double worst = u + weight_u + u * weight_u + u32 * (static_cast<double>(ci) + transforms + 4),
               likely = (u * u + weight_u * weight_u) / 3 + u32 * u32 * (static_cast<double>(ci) + transforms);
  const bool int16 = kernel.ends_with("int16");
  std::vector<double> rest;  // what int16's taps lose by being kept in s.w
  for (const float tap : p.weight) rest.push_back(int16 ? tap - rounded(s.w, tap) : 0);
  // `lost`: what of a transformed weight is lost so.
  std::vector<double> weights(static_cast<size_t>(co * ci * positions)), lost(weights.size());
  for (int64_t i = 0; i < co * ci; ++i)
    for (int a = 0; a < m.pos; ++a)
      for (int b = 0; b < m.pos; ++b)
        for (int t = 0; t < 9; ++t) {
          const double transform = m.weight[a * 3 + t / 3] * m.weight[b * 3 + t % 3];
          weights[i * positions + a * m.pos + b] += transform * p.weight[i * 9 + t];
          lost[i * positions + a * m.pos + b] += transform * rest[i * 9 + t];
        }
  // Of int16: the step of a column of weights, and of a block of a tile's channels, at each position.
  constexpr int64_t kBlock = 64;
  const int64_t blocks = int16 ? (ci + kBlock - 1) / kBlock : 0;
  const auto in_block = [&](int64_t block) { return std::min(kBlock, ci - block * kBlock); };
  std::vector<double> weight_step(static_cast<size_t>(co * positions)), input_step(static_cast<size_t>(blocks * positions));
  for (int64_t o = 0; o < co; ++o)
    for (int q = 0; q < positions; ++q)
      for (int64_t b = 0; b < blocks; ++b)
        weight_step[o * positions + q] = std::max(
            weight_step[o * positions + q], int16_step(in_block(b), [&](int64_t i) { return weights[(o * ci + b * kBlock + i) * positions + q]; }));
  ErrorBound bound{std::vector<double>(p.expected.size()), std::vector<double>(p.expected.size())};
  std::vector<double> inputs(static_cast<size_t>(ci * positions)), magnitudes(inputs.size());
  for (int64_t n = 0; n < p.c.n; ++n)
    for (int64_t ty = 0; ty < p.oh; ty += m.out)
      for (int64_t tx = 0; tx < p.ow; tx += m.out) {
        for (int64_t k = 0; k < ci; ++k)
          for (int a = 0; a < m.pos; ++a)
            for (int b = 0; b < m.pos; ++b) {
              double v = 0, magnitude = 0;
              for (int i = 0; i < m.in; ++i)
                for (int j = 0; j < m.in; ++j) {
                  const int64_t y = ty - 1 + i, x = tx - 1 + j;
                  if (y < 0 || x < 0 || y >= ih || x >= iw) continue;
                  const double term = m.input[a * m.in + i] * m.input[b * m.in + j] * p.input[((n * ih + y) * iw + x) * ci + k];
                  v += term, magnitude += std::abs(term);
                }
              inputs[k * positions + a * m.pos + b] = v, magnitudes[k * positions + a * m.pos + b] = magnitude;
            }
        for (int64_t b = 0; b < blocks; ++b)
          for (int q = 0; q < positions; ++q)
            input_step[b * positions + q] = int16_step(in_block(b), [&](int64_t i) { return inputs[(b * kBlock + i) * positions + q]; });
        for (int64_t o = 0; o < co; ++o) {
          std::array<double, 36> most{}, squares{}, steps{}, step_squares{};
          for (int64_t k = 0; k < (int16 ? ci : 0); ++k)
            for (int q = 0; q < positions; ++q) {
              const double v = inputs[k * positions + q], w = weights[(o * ci + k) * positions + q];
              const double a = input_step[k / kBlock * positions + q], c = weight_step[o * positions + q];
              const double l = lost[(o * ci + k) * positions + q];
              steps[q] += (std::abs(v) * c + std::abs(w) * a + a * c / 2) / 2 + std::abs(v * l);
              step_squares[q] += (v * v * c * c + w * w * a * a) / 12 + v * v * l * l;
            }
          for (int64_t k = 0; k < ci; ++k)
            for (int q = 0; q < positions; ++q) {
              const double weight = weights[(o * ci + k) * positions + q];
              most[q] += std::abs(weight) * magnitudes[k * positions + q];
              squares[q] += weight * weight * inputs[k * positions + q] * inputs[k * positions + q];
            }
          for (int i = 0; i < m.out && ty + i < p.oh; ++i)
            for (int j = 0; j < m.out && tx + j < p.ow; ++j) {
              const size_t at = ((n * p.oh + ty + i) * p.ow + tx + j) * co + o;
              for (int q = 0; q < positions; ++q) {
                const double a = m.output[i * m.pos + q / m.pos] * m.output[j * m.pos + q % m.pos];
                bound.most[at] += std::abs(a) * (most[q] * worst + steps[q]);
                bound.variance[at] += a * a * (squares[q] * likely + step_squares[q]);
              }
              const double out = unit_roundoff(s.act) * std::abs(p.expected[at]), sums = 4 * u32 * (1 + std::abs(p.expected[at]));
              bound.most[at] += out * (1 + bound.most[at]) + sums;
              bound.variance[at] += out * out / 3 + sums * sums;
            }
        }
      }
  return bound;
}

double norm_of(const std::vector<double>& values) { return std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.)); }

double relative_error(const std::vector<double>& got, const std::vector<double>& expected) {
  double error = 0, power = 0;
  for (size_t i = 0; i < got.size(); ++i) error += (got[i] - expected[i]) * (got[i] - expected[i]), power += expected[i] * expected[i];
  return std::sqrt(error / power);
}

// What a kernel states of a level is what its arithmetic, written out in plain code, has: on this machine, whatever levels it lacks. Where it has the
// level, the kernel does what the plain code says.
TEST(Conv, ErrorsAreThoseStatedOnEveryLevel) {
  int kernels = 0;
  for (DType compute : kComputes)
    for (bool upsample : {false, true})
      for (int64_t channels : {96, 640}) {
        const Case c{.spec = {.in_channels = channels, .out_channels = 33, .pad = kSame, .compute = compute, .upsample2x = upsample},
                     .h = 11,
                     .w = 13,
                     .bias = false};
        Problem p = make_problem(c, Values::uniform, 7);
        for (const ConvKernel& kernel : conv_kernels()) {
          if (kernel.refuse(c.spec, kHighestIsa)) continue;
          SCOPED_TRACE(std::string(kernel.name) + ", " + std::to_string(channels) + " channels");
          const ErrorBound bound = bound_of(kernel.name, p);
          const double likely = std::sqrt(std::accumulate(bound.variance.begin(), bound.variance.end(), 0.));
          const std::vector<double> simulated = Simulation(kernel, p).run();
          const double error = relative_error(simulated, p.expected), stated = kernel.error(c.spec);
          // Float32's sums differ by their order: a panel or a vector at a time, fused or not.
          const bool sums_alone = factors_of(kernel) == Factors::float32;
          if (!sums_alone) {
            EXPECT_NEAR(error / stated, 1, 0.1) << error << ", states " << stated;
          }
          std::printf("  %-24s %4ld channels: states %.2e, simulated %.2e", kernel.name.data(), static_cast<long>(channels), stated, error);
          for (Isa level : machine_levels()) {
            if (kernel.refuse(c.spec, level)) continue;
            const std::vector<double> got = run(kernel, level, p);
            for (size_t i = 0; i < got.size(); ++i) ASSERT_LE(std::abs(got[i] - p.expected[i]), bound.most[i]) << isa_name(level) << " at " << i;
            const double here = relative_error(got, p.expected);
            // The prediction is an expectation; twice it leaves room for chance and for what the model of the sums leaves out, and none for a lost
            // tap.
            EXPECT_LE(here, 2 * likely / norm_of(p.expected)) << isa_name(level);
            EXPECT_NEAR(here / stated, 1, sums_alone ? 0.15 : 0.1) << here << " on " << isa_name(level) << ", states " << stated;
            EXPECT_LE(relative_error(got, simulated), sums_alone ? 2 * stated : stated / 10)
                << isa_name(level) << " rounds otherwise than its simulation";
            std::printf(", %s %.2e", isa_name(level).data(), here);
          }
          std::printf("\n");
          ++kernels;
        }
      }
  EXPECT_EQ(kernels, 24) << "two sizes of each kernel";
}

// Activations are Lipschitz with a constant below 1.13 (gelu's largest slope), and good to a few units of float32.
TEST(Conv, ActivationsInTheEpilogue) {
  for (Act act : {Act::silu, Act::gelu, Act::gelu_tanh, Act::quick_gelu, Act::relu}) {
    Case c{.spec = {.in_channels = 8, .out_channels = 20, .pad = kSame}, .h = 6, .w = 5};
    each_kernel(c.spec, [&](const ConvKernel& kernel, Isa level) {
      Problem plain = make_problem(c, Values::uniform, 5);
      const ErrorBound bound = bound_of(kernel.name, plain);
      Case with = c;
      with.act = act;
      Problem p = make_problem(with, Values::uniform, 5);
      const std::vector<double> got = run(kernel, level, p);
      for (size_t i = 0; i < got.size(); ++i)
        ASSERT_LE(std::abs(got[i] - p.expected[i]), 1.13 * bound.most[i] + 8 * unit_roundoff(DType::float32) * (1 + std::abs(plain.expected[i])));
    });
  }
}

}  // namespace
}  // namespace vivace::cpu::conv_test
