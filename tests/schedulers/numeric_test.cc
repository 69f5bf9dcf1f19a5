// The NumPy, PyTorch and SciPy functions the tables are made with.
#include "schedulers/numeric.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <tuple>

#include "schedulers/brownian_tree.h"
#include "schedulers/spacing.h"

namespace vivace {
namespace {

constexpr double kNumericEps = std::numeric_limits<double>::epsilon();

TEST(Numeric, Linspace) {
  EXPECT_EQ(linspace(0, 1, 5), (std::vector<double>{0, 0.25, 0.5, 0.75, 1}));
  EXPECT_EQ(linspace(0, 4, 4, false), (std::vector<double>{0, 1, 2, 3}));
  EXPECT_EQ(linspace(3, 9, 1), std::vector<double>{3});
  EXPECT_TRUE(linspace(0, 1, 0).empty());
  EXPECT_EQ(linspace(0, 0.1, 7).back(), 0.1);
  EXPECT_EQ(linspace_float(1, 2, 3), (std::vector<float>{1, 1.5f, 2}));
  EXPECT_EQ(linspace_float(0.1f, 0.7f, 100).back(), 0.7f);
  EXPECT_EQ(linspace_float(5, 6, 1), std::vector<float>{5});
}

TEST(Numeric, ArangeHasNumPysLength) {
  EXPECT_EQ(arange(1000, 0, -250), (std::vector<double>{1000, 750, 500, 250}));
  for (int n = 1; n <= 1000; ++n) {
    const double step = -1000.0 / n;
    EXPECT_EQ(arange(1000, 0, step).size(), static_cast<size_t>(std::ceil((0.0 - 1000) / step)));
  }
}

TEST(Numeric, InterpolateClampsAndMeetsThePoints) {
  const std::vector<float> values{1, 3, 7};
  EXPECT_EQ(interpolate(-1, values), 1);
  EXPECT_EQ(interpolate(0.5, values), 2);
  EXPECT_EQ(interpolate(1, values), 3);
  EXPECT_EQ(interpolate(2, values), 7);
  EXPECT_EQ(interpolate(9, values), 7);
  EXPECT_EQ(interpolate(0, std::vector<float>{4}), 4);
}

TEST(Numeric, LogarithmOfNumPyIsWithinFourUnits) {
  for (float x = 1e-6f; x < 1e6f; x *= 1.0137f) {
    const double exact = std::log(static_cast<double>(x));
    EXPECT_NEAR(numpy_log(x), exact, 4 * std::numeric_limits<float>::epsilon() * std::max(std::abs(exact), 1e-3)) << x;
  }
  EXPECT_EQ(numpy_log(1.f), 0.f);
  EXPECT_EQ(numpy_log(0.f), -std::numeric_limits<float>::infinity());
}

TEST(Numeric, BetaQuantiles) {
  EXPECT_EQ(beta_ppf(0, 0.6, 0.6), 0);
  EXPECT_EQ(beta_ppf(1, 0.6, 0.6), 1);
  EXPECT_NEAR(beta_ppf(0.5, 0.6, 0.6), 0.5, 4 * kNumericEps);
  // Closed forms: uniform, x^a, 1 - (1 - x)^b, and the arcsine distribution.
  for (double p : {1e-12, 1e-6, 0.003, 0.1, 0.25, 0.49, 0.6, 0.9, 0.999, 1 - 1e-9}) {
    EXPECT_NEAR(beta_ppf(p, 1, 1), p, 16 * kNumericEps);
    EXPECT_NEAR(beta_ppf(p, 3, 1), std::cbrt(p), 64 * kNumericEps);
    EXPECT_NEAR(beta_ppf(p, 1, 2), 1 - std::sqrt(1 - p), 64 * kNumericEps);
    EXPECT_NEAR(beta_ppf(p, 0.5, 0.5), std::pow(std::sin(p * std::acos(-1.0) / 2), 2), 64 * kNumericEps);
    EXPECT_NEAR(beta_ppf(p, 0.6, 0.6), 1 - beta_ppf(1 - p, 0.6, 0.6), 64 * kNumericEps + 1e-10 * (p < 1e-9));  // 1 - p loses p's digits
  }
  EXPECT_NEAR(beta_ppf(0.98, 0.6, 0.6), 0.9972670179754229, 16 * kNumericEps);  // SciPy 1.17
}

TEST(Numeric, IntegratesLagrangePolynomials) {
  EXPECT_EQ(integrate_lagrange(std::vector<double>{2.5}, 0, 3, 1), -2);  // the polynomial of one point is 1
  // (x - 4) / (2 - 4) from 1 to 3, and Simpson's rule: 1/6, 4/6, 1/6 of the interval.
  EXPECT_NEAR(integrate_lagrange(std::vector<double>{2, 4}, 0, 1, 3), 2, 8 * kNumericEps);
  const std::vector<double> simpson{0, 1, 2};
  for (int k = 0; k < 3; ++k) EXPECT_NEAR(integrate_lagrange(simpson, k, 0, 2), k == 1 ? 4.0 / 3 : 1.0 / 3, 8 * kNumericEps);
  // Three eighths.
  const std::vector<double> eighths{0, 1, 2, 3};
  for (int k = 0; k < 4; ++k) EXPECT_NEAR(integrate_lagrange(eighths, k, 0, 3), k % 3 == 0 ? 3.0 / 8 : 9.0 / 8, 16 * kNumericEps);
}

TEST(Numeric, SeedSequenceOfNumPy) {  // values of NumPy 2.4
  EXPECT_EQ(seed_sequence(7, {}, 3), (std::vector<uint32_t>{1376543887, 623213690, 436845524}));
  EXPECT_EQ(seed_sequence((uint64_t{1} << 40) + 11, std::vector<uint64_t>{5, 3}, 4),
            (std::vector<uint32_t>{510935309, 1271681225, 846860124, 1345829267}));
  EXPECT_EQ(seed_sequence(0, std::vector<uint64_t>{(uint64_t{1} << 33) + 1, 34}, 2), (std::vector<uint32_t>{2251331998, 3598010648}));
}

TEST(BrownianTree, IsTorchsdes) {  // torchsde 0.2.6: BrownianInterval(0.03, 14.6, (16,), entropy=5, tol=1e-6, pool_size=24, halfway_tree=True)
  const BrownianTree tree({16}, 0.03, 14.6, 5);
  const std::tuple<double, double, std::array<float, 3>> cases[] = {{0.03, 14.6, {1.322482f, -3.3863103f, 0.43123737f}},
                                                                    {1.25, 3.5, {1.2118106f, -0.68302292f, 1.8476878f}},
                                                                    {3.5, 3.500001, {-0.00011983979f, 0.00064377149f, 0.0033109756f}},
                                                                    {0.5, 0.5, {0, 0, 0}}};
  // An increment is a sum over the nodes of the tree, of which two a level may come in, each rounded from the one above.
  constexpr float kTolerance = 2 * 24 * std::numeric_limits<float>::epsilon();
  for (const auto& [from, to, expected] : cases) {
    const Tensor forward = tree.increment(from, to), back = tree.increment(to, from);
    for (const auto& [at, value] : {std::pair{0, expected[0]}, {1, expected[1]}, {15, expected[2]}}) {
      EXPECT_NEAR(forward.floats()[at], value, kTolerance * 4) << from << " " << to;
      EXPECT_EQ(back.floats()[at], -forward.floats()[at]);
    }
  }
  // Parts add up to the whole, in any order of asking; outside of its times the motion stands still.
  const Tensor late = tree.increment(3.5, 14.6), early = tree.increment(0.03, 3.5), all = tree.increment(0, 20);
  for (int i = 0; i < 16; ++i) EXPECT_NEAR(late.floats()[i] + early.floats()[i], all.floats()[i], kTolerance * 8);
}

TEST(Numeric, SolvesWithPivoting) {
  // The first pivot is zero. x = (1, 2, 3).
  const std::vector<float> x = solve({0, 2, 1, 1, 1, 1, 4, -1, 2}, {7, 6, 8});
  for (int i = 0; i < 3; ++i) EXPECT_NEAR(x[i], i + 1, 16 * std::numeric_limits<float>::epsilon());
  EXPECT_EQ(solve({2}, {3}), std::vector<float>{1.5f});
}

TEST(Spacing, SigmaToTInvertsTheTable) {
  std::vector<float> sigmas;
  for (int i = 0; i < 50; ++i) sigmas.push_back(0.03f * std::pow(1.13f, static_cast<float>(i)));
  const std::vector<float> logs = log_sigmas(sigmas);
  // The logarithms are float32 values below 4, 0.12 apart.
  for (int i = 0; i < 50; ++i) EXPECT_NEAR(sigma_to_t(sigmas[i], logs), i, 4 * 4 * std::numeric_limits<float>::epsilon() / 0.12);
  EXPECT_EQ(sigma_to_t(1e-3, logs), 0);
  EXPECT_EQ(sigma_to_t(1e3, logs), 49);
  EXPECT_EQ(sigma_to_t_float(1e3f, logs), 49.f);
  EXPECT_EQ(sigma_to_t(1.0, std::vector<float>{0.5f}), 0);
}

TEST(Spacing, SigmaSpacingsMeetTheirEnds) {
  for (const SigmaSpacing spacing : {SigmaSpacing::karras, SigmaSpacing::exponential, SigmaSpacing::beta}) {
    const std::vector<double> sigmas = space_sigmas(spacing, 14.6, 0.03, {}, 12);
    ASSERT_EQ(sigmas.size(), 12u);
    EXPECT_NEAR(sigmas.front(), 14.6, 14.6 * 16 * kNumericEps);
    EXPECT_NEAR(sigmas.back(), 0.03, 14.6 * 16 * kNumericEps);
    for (size_t i = 1; i < sigmas.size(); ++i) EXPECT_LT(sigmas[i], sigmas[i - 1]);
    const std::vector<double> given = space_sigmas(spacing, 14.6, 0.03, {.min = 0.1, .max = 5.0}, 3);
    EXPECT_NEAR(given.front(), 5, 5 * 16 * kNumericEps);
    EXPECT_NEAR(given.back(), 0.1, 5 * 16 * kNumericEps);
    EXPECT_EQ(space_sigmas(spacing, 14.6, 0.03, {}, 1).size(), 1u);
  }
}

}  // namespace
}  // namespace vivace
