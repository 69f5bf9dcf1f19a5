#include <bit>

#include "backends/cpu/kernels/elementwise/tile.h"
#include "backends/cpu/kernels/vecmath/vecmath.h"
#include "norm_testing.h"

namespace vivace::cpu {
namespace {

// Units in the last place of the float nearest to `want`.
double ulps(float got, double want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : INFINITY;
  const auto nearest = static_cast<float>(want);
  if (got == nearest) return 0;
  if (std::isinf(nearest) || std::isinf(got)) return std::abs(got) >= 0x1.fffffep127f && std::abs(want) >= 0x1.fffffep127 ? 1 : INFINITY;
  const int exponent = std::max(std::ilogb(want), -126) - 23;
  return std::abs(got - want) / std::ldexp(1.0, exponent);
}

// x from low to high: evenly spaced, and evenly spaced in the logarithm of |x|.
std::vector<float> points(float low, float high) {
  std::vector<float> v;
  constexpr int kCount = 40001;
  for (int i = 0; i < kCount; ++i) v.push_back(static_cast<float>(low + (static_cast<double>(high) - low) * i / (kCount - 1)));
  for (uint32_t u = 1; u < 0x7f800000u; u += 40009) {
    const float f = std::bit_cast<float>(u);
    for (float x : {f, -f})
      if (x >= low && x <= high) v.push_back(x);
  }
  for (int i = 1; i < 4000; ++i) {  // around the multiples of pi / 2, where sin and cos lose most
    const auto x = static_cast<float>(i * 1.57079632679489661923);
    for (float s : {x, -x, std::nextafter(x, 0.f)})
      if (s >= low && s <= high) v.push_back(s);
  }
  return v;
}

double largest_error(VectorMath::Function f, double (*want)(double), float low, float high) {
  const std::vector<float> x = points(low, high);
  std::vector<float> y(x.size());
  f(x.data(), y.data(), static_cast<int64_t>(x.size()));
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double error = ulps(y[i], want(x[i]));
    if (error > worst) worst = error;
  }
  return worst;
}

constexpr float kMax = 0x1.fffffep127f;

TEST(VectorMath, is_within_4_ulp_of_libm) {
  at_every_isa([] {
    const VectorMath& math = vector_math();
    EXPECT_LE(largest_error(math.exp, std::exp, -110, 90), 4);
    EXPECT_LE(largest_error(math.log, std::log, 0, kMax), 4);
    EXPECT_LE(largest_error(math.tanh, std::tanh, -12, 12), 4);
    EXPECT_LE(largest_error(math.erf, std::erf, -5, 5), 4);
    EXPECT_LE(largest_error(math.sin, std::sin, -6000, 6000), 4);
    EXPECT_LE(largest_error(math.cos, std::cos, -6000, 6000), 4);
    EXPECT_LE(largest_error(math.sin, std::sin, -1e6f, 1e6f), 4);
    EXPECT_LE(largest_error(
                  math.sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, -87, 100),
              4);
  });
}

TEST(VectorMath, keeps_nan_and_goes_to_the_limits) {
  at_every_isa([] {
    const VectorMath& math = vector_math();
    const float x[] = {NAN, INFINITY, -INFINITY, 0.f, kMax, -kMax, 1e-40f, -NAN};
    float y[8];
    const auto check = [&](VectorMath::Function f, double (*want)(double)) {
      f(x, y, 8);
      for (int i = 0; i < 8; ++i) EXPECT_LE(ulps(y[i], want(x[i])), 4) << x[i] << " gives " << y[i];
    };
    check(math.exp, std::exp);
    check(math.log, std::log);
    check(math.tanh, std::tanh);
    check(math.erf, std::erf);
    check(math.sin, std::sin);
    check(math.cos, std::cos);
    for (VectorMath::Function f : {math.silu, math.gelu, math.gelu_tanh, math.quick_gelu}) {
      f(x, y, 8);
      EXPECT_TRUE(std::isnan(y[0]) && std::isnan(y[7]));
      EXPECT_EQ(y[1], INFINITY);
      EXPECT_EQ(y[3], 0);
    }
    const float far[] = {-6.f, -1000.f, -1e30f};  // erf is -1 there: nothing must be left
    math.gelu(far, y, 3);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(y[i], 0);
  });
}

// Absolute error: the functions are sums that cancel for negative x (as in PyTorch), so the units are those of |x| rather than of the result.
TEST(VectorMath, activations) {
  struct Case {
    VectorMath::Function f;
    double (*want)(double);
  };
  at_every_isa([] {
    const VectorMath& math = vector_math();
    const Case cases[] = {
        {math.silu, [](double x) { return x / (1 + std::exp(-x)); }},
        {math.gelu, [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }},
        {math.gelu_tanh, [](double x) { return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }},
        {math.quick_gelu, [](double x) { return x / (1 + std::exp(-1.702 * x)); }},
    };
    for (const Case& k : cases) {
      const std::vector<float> x = points(-20, 20);
      std::vector<float> y(x.size());
      k.f(x.data(), y.data(), static_cast<int64_t>(x.size()));
      for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(y[i], k.want(x[i]), 6 * kUnit * std::abs(x[i]) + 0x1p-149) << x[i];
    }
  });
}

void cast(const void* x, DType in, void* y, DType out, int64_t count) {
  TileProgram p;
  p.input_count = p.output_count = 1;
  p.inputs[0].dtype = in;
  p.outputs[0].dtype = out;
  TileArguments arguments{1, count};
  arguments.inputs[0] = x;
  arguments.outputs[0] = y;
  arguments.input_strides[0] = arguments.output_strides[0] = count;
  tile_run(p, arguments);
}

// Every 16-bit pattern, and floats around every rounding border, agree bit for bit with tensor/half.h.
TEST(Cast, equals_the_scalar_conversions) {
  at_every_isa([] {
    std::vector<uint16_t> all(65536);
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
    std::vector<float> wide(all.size());
    for (DType dtype : {bfloat16, float16}) {
      cast(all.data(), dtype, wide.data(), float32, 65536);
      for (int64_t i = 0; i < 65536; ++i) {
        const auto want = static_cast<float>(element(all.data(), dtype, i));
        if (std::isnan(want)) {
          ASSERT_TRUE(std::isnan(wide[static_cast<size_t>(i)]));
        } else {
          ASSERT_EQ(std::bit_cast<uint32_t>(wide[static_cast<size_t>(i)]), std::bit_cast<uint32_t>(want));
        }
      }
      std::vector<float> x;
      std::mt19937 engine(1);
      for (uint32_t u = 0; u < 0xff000000u; u += 65521) x.push_back(std::bit_cast<float>(u));
      for (float f : wide)
        for (float s : {f, std::nextafter(f, INFINITY), std::nextafter(f, -INFINITY)}) x.push_back(s);
      for (size_t i = 0; i + 1 < wide.size(); ++i) x.push_back((wide[i] + wide[i + 1]) / 2);  // the ties
      for (int i = 0; i < 100000; ++i) x.push_back(std::bit_cast<float>(static_cast<uint32_t>(engine())));
      std::vector<uint16_t> y(x.size()), want(2);
      cast(x.data(), float32, y.data(), dtype, static_cast<int64_t>(x.size()));
      for (size_t i = 0; i < x.size(); ++i) {
        set_element(want.data(), dtype, 0, x[i]);
        if (std::isnan(x[i])) {
          ASSERT_TRUE(std::isnan(element(y.data(), dtype, static_cast<int64_t>(i))));
        } else {
          ASSERT_EQ(y[i], want[0]) << x[i];
        }
      }
    }
  });
}

}  // namespace
}  // namespace vivace::cpu
