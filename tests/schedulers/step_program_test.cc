// The one loop all schedulers run on, and the rules of calling step().
#include "schedulers/step_program.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "vivace/error.h"
#include "vivace/scheduler.h"

namespace vivace {
namespace {

constexpr float kProgramEps = std::numeric_limits<float>::epsilon();

TEST(StepProgram, EvaluatesCombinationsInOrder) {
  // Long enough for several threads and blocks, and no multiple of a block.
  const Shape shape{2, 100003};
  const Tensor x = Generator(1).randn(shape), e = Generator(2).randn(shape), z = Generator(3).randn(shape);
  StepProgram program;
  program.assign(kPrediction, (kSample - 0.5 * Linear(kModelOutput)) / 2, Bound::clip);
  program.assign(kHistory, 3 * Linear(kPrediction));
  program.assign(kPrevSample, Linear(kHistory) - kPrediction + 0.25 * Linear(kNoise));
  EXPECT_FALSE(program.reads_history());
  StepRunner runner;
  const Tensor y = runner.run(program, {.kind = Bound::clip, .clip_range = 0.7f}, x, e, z);
  ASSERT_EQ(y.shape(), shape);
  for (int64_t i = 0; i < y.numel(); ++i) {
    const float original = std::clamp((x.as<float>()[i] - 0.5f * e.as<float>()[i]) / 2, -0.7f, 0.7f);
    ASSERT_NEAR(y.as<float>()[i], 2 * original + 0.25f * z.as<float>()[i], 4 * kProgramEps * (3 * 0.7f + std::abs(z.as<float>()[i]))) << i;
  }
  // History stays for the next step; the inputs do not change.
  StepProgram next;
  next.assign(kPrevSample, kHistory);
  EXPECT_TRUE(next.reads_history());
  const Tensor kept = runner.run(next, {}, x, e, {});
  for (int64_t i = 0; i < 100; ++i) EXPECT_LE(std::abs(kept.as<float>()[i]), 2.1f);
  EXPECT_EQ(x.as<float>()[5], Generator(1).randn(shape).as<float>()[5]);
}

TEST(StepProgram, KnowsWhenItIsNotFinite) {
  StepProgram program;
  program.assign(kPrevSample, kSample + Linear(kModelOutput) / 0.0);
  EXPECT_FALSE(program.finite());
  StepProgram absent;
  absent.assign(kPrevSample, kSample + (Linear(kModelOutput) - kModelOutput) / 0.0);  // a slot that cancelled stays away
  EXPECT_TRUE(absent.finite());
}

TEST(Threshold, IsTheQuantileOfEachImage) {
  for (const float ratio : {0.f, 0.5f, 0.9f, 0.995f, 1.f}) {
    for (const float max : {1.f, 1.5f, 100.f}) {
      Tensor x = Generator(4).randn({3, 2, 37});
      for (int i = 0; i < 74; ++i) x.as<float>()[i] *= 4;  // the first image needs it most
      const Tensor before = x.clone();
      apply_threshold(x, ratio, max);
      for (int b = 0; b < 3; ++b) {
        std::vector<double> sorted;
        for (int i = 0; i < 74; ++i) sorted.push_back(std::abs(before.as<float>()[b * 74 + i]));
        std::ranges::sort(sorted);
        const double rank = static_cast<double>(ratio) * 73;
        const auto low = static_cast<size_t>(rank);
        const double quantile = sorted[low] + (rank - static_cast<double>(low)) * (sorted[std::min<size_t>(low + 1, 73)] - sorted[low]);
        const double s = std::min(std::max(quantile, 1.0), static_cast<double>(max));
        for (int i = 0; i < 74; ++i) {
          const double expected = std::clamp<double>(before.as<float>()[b * 74 + i], -s, s) / s;
          ASSERT_NEAR(x.as<float>()[b * 74 + i], expected, 74 * kProgramEps)
              << ratio << " " << max << " " << b << " " << i;  // the rank is a float of up to 73
        }
      }
    }
  }
}

TEST(Threshold, ANaNSpoilsItsImageAlone) {
  Tensor x = Generator(4).randn({2, 50});
  x.as<float>()[7] = std::numeric_limits<float>::quiet_NaN();
  apply_threshold(x, 0.9f, 2.f);
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(std::isnan(x.as<float>()[i]));
    EXPECT_FALSE(std::isnan(x.as<float>()[50 + i]));
  }
}

class Step : public testing::Test {
 protected:
  const Tensor x = Generator(1).randn({1, 2, 3, 3}), e = Generator(2).randn({1, 2, 3, 3});
};

TEST_F(Step, RefusesWhatDoesNotFit) {
  const auto scheduler = make_scheduler("euler");
  EXPECT_THROW(scheduler->step(e, 0, x), UsageError);  // no timesteps yet
  scheduler->set_timesteps(5);
  EXPECT_THROW(scheduler->step(e, -1, x), UsageError);
  EXPECT_THROW(scheduler->step(e, 5, x), UsageError);
  EXPECT_THROW(scheduler->step(e.reshape({2, 1, 3, 3}), 0, x), UsageError);
  EXPECT_THROW(scheduler->step(e.to(DType::bfloat16), 0, x), UsageError);
  EXPECT_THROW(scheduler->step(Tensor(), 0, Tensor()), UsageError);
  EXPECT_THROW(scheduler->set_begin_index(5), UsageError);
  EXPECT_THROW(scheduler->add_noise(x, e, 5), UsageError);
  EXPECT_THROW(scheduler->add_noise(x, e.reshape({18}), 0), UsageError);
  scheduler->set_begin_index(2);
  EXPECT_THROW(scheduler->step(e, 1, x), UsageError);
  EXPECT_NO_THROW(scheduler->step(e, 2, x));
}

TEST_F(Step, StochasticSchedulersNeedAGenerator) {
  for (const char* name : {"euler_a", "tcd", "sa_solver", "dpmpp_sde", "flow_match_lcm"}) {
    SCOPED_TRACE(name);
    const auto scheduler = make_scheduler(name);
    scheduler->set_timesteps(5);
    EXPECT_THROW(scheduler->step(e, 0, x), UsageError);
    Generator generator(1);
    EXPECT_NO_THROW(scheduler->step(e, 0, x, generator));
  }
  const auto seeded = make_scheduler("dpmpp_sde", R"({"noise_sampler_seed": 3})");
  seeded->set_timesteps(5);
  const Tensor stepped = seeded->step(e, 2, x);  // it begins where it is asked to
  for (float v : stepped.floats()) EXPECT_TRUE(std::isfinite(v));
}

// Whatever is drawn, an image that has a generator of its own is what it is alone.
TEST_F(Step, EachGeneratorDrawsForItsImage) {
  for (const char* name : {"euler_a", "tcd", "sa_solver", "dpmpp_sde", "dpm2_a"}) {
    SCOPED_TRACE(name);
    const auto scheduler = make_scheduler(name);
    scheduler->set_timesteps(4);
    const Tensor both = Generator(3).randn({2, 2, 3, 3}), output = Generator(4).randn({2, 2, 3, 3});
    Generator first(1), second(2), alone(2);
    Generator* const generators[] = {&first, &second};
    Tensor sample = both, one = both.rows(1, 2).clone();
    for (int i = 0; i < 2; ++i) sample = scheduler->step(output, i, sample, generators);
    for (int i = 0; i < 2; ++i) one = scheduler->step(output.rows(1, 2).clone(), i, one, alone);
    for (int i = 0; i < 18; ++i) EXPECT_EQ(sample.as<float>()[18 + i], one.as<float>()[i]);
  }
}

TEST_F(Step, MultistepSchedulersGoInOrderAndMayStartAgain) {
  for (const char* name : {"dpmsolver++", "unipc", "heun", "pndm", "dpmpp_2s", "deis", "lms", "dpm2", "edm_dpmpp_2m", "flow_match_heun"}) {
    SCOPED_TRACE(name);
    const auto scheduler = make_scheduler(name);
    scheduler->set_timesteps(8);
    Tensor first = scheduler->step(e, 0, x);
    const Tensor second = scheduler->step(e, 1, first);
    EXPECT_THROW(scheduler->step(e, 3, second), UsageError);
    first = scheduler->step(e, 0, x);  // a new run
    const Tensor again = scheduler->step(e, 1, first);
    for (int i = 0; i < x.numel(); ++i) EXPECT_EQ(again.as<float>()[i], second.as<float>()[i]);
    scheduler->reset();
    EXPECT_THROW(scheduler->step(e, 1, first), UsageError);
  }
  const auto euler = make_scheduler("euler");  // has no history
  euler->set_timesteps(8);
  EXPECT_NO_THROW(euler->step(e, 5, x));
}

TEST_F(Step, ClonesShareNoHistory) {
  const auto scheduler = make_scheduler("dpmsolver++");
  scheduler->set_timesteps(8);
  const Tensor first = scheduler->step(e, 0, x);
  const auto other = scheduler->clone();
  EXPECT_EQ(other->timesteps(), scheduler->timesteps());
  EXPECT_EQ(other->config_json(), scheduler->config_json());
  other->step(x, 0, e);
  const Tensor second = scheduler->step(e, 1, first);
  scheduler->step(e, 0, x);
  const Tensor alone = scheduler->step(e, 1, first);
  for (int i = 0; i < x.numel(); ++i) EXPECT_EQ(second.as<float>()[i], alone.as<float>()[i]);
}

}  // namespace
}  // namespace vivace
