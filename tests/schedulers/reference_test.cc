// Published check values: EulerDiscrete with SDXL's config and FlowMatchEuler with Flux's, as printed (six decimals or seven digits).
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "vivace/scheduler.h"

namespace vivace {
namespace {

constexpr const char* kSdxl =
    R"({"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "timestep_spacing": "leading", "steps_offset": 1})";
constexpr float kReferenceEps = std::numeric_limits<float>::epsilon();
constexpr float kLastDigit = 0.5e-6f;  // half a unit of the sixth decimal

// The table is not of float32 arithmetic. alpha is a product of up to 1000 factors that float32 rounds by eps / 2 each, which add up as a
// random walk; sigma = sqrt(1 / alpha - 1) turns a relative error of alpha into (1 + sigma^2) / (2 sigma) times as much.
float near(float sigma) { return kLastDigit + std::sqrt(1000.f) * kReferenceEps / 2 * (1 + sigma * sigma) / (2 * sigma); }

struct Row {
  int steps;
  std::vector<float> first_timesteps, first_sigmas, last_sigmas;
  float init_noise_sigma;
};

TEST(Reference, EulerDiscreteWithTheConfigOfSdxl) {
  const Row rows[] = {
      {10, {901, 801}, {8.390685f, 5.134431f, 3.347764f}, {0.346187f, 0.041314f}, 8.450065f},
      {20, {951, 901}, {11.028331f, 8.390685f}, {0.228147f, 0.041314f}, 11.073576f},
      {30, {958, 925, 892}, {11.476846f, 9.543583f, 8.004311f}, {0.182166f, 0.041314f}, 11.520330f},
      {50, {981, 961}, {13.120411f, 11.676046f}, {0.141463f, 0.041314f}, 13.158464f},
  };
  const auto scheduler = EulerDiscreteScheduler::from_config(kSdxl);
  for (const Row& row : rows) {
    SCOPED_TRACE(row.steps);
    scheduler->set_timesteps(row.steps);
    const auto& sigmas = scheduler->sigmas();
    ASSERT_EQ(scheduler->timesteps().size(), static_cast<size_t>(row.steps));
    for (size_t i = 0; i < row.first_timesteps.size(); ++i) EXPECT_EQ(scheduler->timesteps()[i], row.first_timesteps[i]);
    EXPECT_EQ(scheduler->timesteps().back(), 1.f);
    for (size_t i = 0; i < row.first_sigmas.size(); ++i) EXPECT_NEAR(sigmas[i], row.first_sigmas[i], near(row.first_sigmas[i]));
    for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(sigmas[sigmas.size() - 3 + i], row.last_sigmas[i], near(row.last_sigmas[i]));
    EXPECT_EQ(sigmas.back(), 0.f);
    EXPECT_NEAR(scheduler->init_noise_sigma(), row.init_noise_sigma, near(row.init_noise_sigma));
    EXPECT_NEAR(scheduler->input_scale(0), 1 / std::sqrt(sigmas[0] * sigmas[0] + 1), 2 * kReferenceEps);
  }
}

TEST(Reference, EndsOfTheSigmaGrid) {
  const auto scheduler = EulerDiscreteScheduler::from_config(kSdxl, R"({"timestep_spacing": "linspace", "final_sigmas_type": "sigma_min"})");
  scheduler->set_timesteps(1000);
  EXPECT_NEAR(scheduler->sigmas().front(), 14.6146412f, near(14.6146412f));
  EXPECT_NEAR(scheduler->sigmas().back(), 0.0291672f, near(0.0291672f));
}

TEST(Reference, FlowMatchEulerOfFlux) {
  const auto schnell = FlowMatchEulerDiscreteScheduler::from_config(R"({"shift": 1.0})");
  SchedulerTimesteps request;
  request.sigmas = {1.0, 0.75, 0.5, 0.25};
  schnell->set_timesteps(request);
  EXPECT_EQ(schnell->sigmas(), (std::vector<float>{1, 0.75f, 0.5f, 0.25f, 0}));

  const auto dev = FlowMatchEulerDiscreteScheduler::from_config(R"({"shift": 3.0, "use_dynamic_shifting": true})");
  request.mu = 1.15;
  dev->set_timesteps(request);
  const float expected[] = {1, 0.904531f, 0.759511f, 0.512844f, 0};
  for (int i = 0; i < 5; ++i) EXPECT_NEAR(dev->sigmas()[i], expected[i], kLastDigit + kReferenceEps);
}

}  // namespace
}  // namespace vivace
