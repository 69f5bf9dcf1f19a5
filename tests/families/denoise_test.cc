// The loop with predictors of the tests' own: what it does not know, its callers can do.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "pipelines/denoise_loop.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Two models in a step: the prediction is what both give together.
class TwoModels : public Predictor {
 public:
  void predict(int step, float timestep, float input_scale, const Tensor& latents, Tensor& prediction) override {
    steps.push_back(step);
    timesteps.push_back(timestep);
    for (int64_t i = 0; i < latents.numel(); ++i) {
      const float x = latents.floats()[i] * input_scale;
      const float control = 0.25f * static_cast<float>(i % 3), denoiser = 0.5f * x;
      prediction.floats()[i] = denoiser + control;
    }
  }
  std::vector<int> steps;
  std::vector<float> timesteps;
};

std::unique_ptr<Scheduler> euler(int steps) {
  auto scheduler = make_scheduler("euler");
  scheduler->set_timesteps(steps);
  return scheduler;
}

Request& of_tests() {
  static Request request;
  return request;
}

DenoiseRequest request(Predictor& predictor, Scheduler& scheduler, int first, int last, Tensor latents) {
  return {.predictor = &predictor,
          .request = &of_tests(),
          .scheduler = &scheduler,
          .first_step = first,
          .last_step = last,
          .latents = std::move(latents),
          .generators = {},
          .kept = {},
          .on_step_end = nullptr};
}

// What the steps first .. last do, with the scheduler alone.
Tensor denoised_by_hand(int steps, int first, int last, Tensor latents) {
  TwoModels predictor;
  const auto scheduler = euler(steps);
  scheduler->set_begin_index(first);
  for (int i = first; i < last; ++i) {
    Tensor prediction(latents.shape(), DType::float32);
    predictor.predict(i, 0, scheduler->input_scale(i), latents, prediction);
    latents = scheduler->step(prediction, i, latents);
  }
  return latents;
}

void expect_equal(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  for (int64_t i = 0; i < a.numel(); ++i) ASSERT_EQ(a.floats()[i], b.floats()[i]) << i;
}

TEST(Denoise, LatentsOfAnyRank) {
  for (const Shape& shape : {Shape{2, 6}, Shape{1, 16, 64}, Shape{1, 4, 3, 5, 2}}) {
    TwoModels predictor;
    const auto scheduler = euler(4);
    const Tensor noise = Generator(3).randn(shape);
    const DenoiseResult result = denoise(request(predictor, *scheduler, 0, 4, noise.clone()));
    expect_equal(result.latents, denoised_by_hand(4, 0, 4, noise.clone()));
    EXPECT_EQ(result.seconds.size(), 4u);
    EXPECT_EQ(predictor.timesteps, scheduler->timesteps());
  }
}

TEST(Denoise, BeginsInTheMiddleAndEndsBefore) {
  TwoModels predictor;
  const auto scheduler = euler(6);
  const Tensor noise = Generator(3).randn({1, 4, 3, 3});
  const DenoiseResult result = denoise(request(predictor, *scheduler, 2, 5, noise.clone()));
  EXPECT_EQ(predictor.steps, (std::vector<int>{2, 3, 4}));
  expect_equal(result.latents, denoised_by_hand(6, 2, 5, noise.clone()));
}

// Inpainting with a model that knows nothing of masks: after each step what is kept gets the original at the next step's noise level.
TEST(Denoise, AMaskIsItsCallers) {
  TwoModels predictor;
  const auto scheduler = euler(4);
  const Shape shape{1, 4, 2, 3};
  const Tensor original = Generator(1).randn(shape), noise = Generator(2).randn(shape);
  const auto is_kept = [](int64_t i) { return i % 6 % 2 == 0; };
  Tensor painted({1, 1, 2, 3}, DType::float32);
  for (int64_t i = 0; i < 6; ++i) painted.floats()[i] = is_kept(i) ? 0 : 1;
  DenoiseRequest r = request(predictor, *scheduler, 0, 4, noise.clone());
  r.kept = {original, noise, painted};
  r.on_step_end = [&](int step, float, StepState& state) {
    const Tensor at = step + 1 < 4 ? scheduler->add_noise(original, noise, step + 1) : original;
    for (int64_t i = 0; i < original.numel(); ++i) {
      EXPECT_EQ(state.latents.floats()[i] == at.floats()[i], is_kept(i)) << step << ", " << i;
    }
  };
  const DenoiseResult result = denoise(std::move(r));
  for (int64_t i = 0; i < original.numel(); ++i) {
    EXPECT_EQ(result.latents.floats()[i] == original.floats()[i], is_kept(i)) << i;
    EXPECT_TRUE(std::isfinite(result.latents.floats()[i]));
  }
}

// A device that says of each step that it is done when it is asked twice.
struct SlowDevice : DeviceLoop {
  void begin(std::span<const DeviceStep> steps, const Bounds&, const Tensor& latents, const Kept&) override {
    EXPECT_EQ(steps.size(), 5u);
    EXPECT_EQ(steps[0].step, 1);
    value = latents.floats()[0];
  }
  void step(const Tensor& noise) override {
    EXPECT_FALSE(noise.defined());
    ++put;
    most_ahead = std::max(most_ahead, put - finished);
  }
  int done() override {
    if (++asked % 2 == 0 && finished < put) ++finished;
    return finished;
  }
  void read(Tensor& latents) override {
    finished = put;
    latents.floats()[0] = value + static_cast<float>(put);
  }
  float value = 0;
  int put = 0, finished = 0, asked = 0, most_ahead = 0;
};
struct OnSlowDevice : TwoModels {
  OnDevice on_device(const Tensor&, std::string against) override {
    if (!against.empty()) return {nullptr, against};
    auto made = std::make_unique<SlowDevice>();
    device = made.get();
    return {std::move(made), {}};
  }
  SlowDevice* device = nullptr;
};

TEST(Denoise, IsTwoStepsAheadOfADeviceAtMost) {
  OnSlowDevice predictor;
  const auto scheduler = euler(6);
  DenoiseRequest r = request(predictor, *scheduler, 1, 6, Tensor::from({1, 1, 1}, std::vector<float>{10}));
  std::vector<int> told;
  r.gives_latents = false;
  r.on_step_end = [&](int step, float, StepState& state) {
    told.push_back(step);
    EXPECT_FALSE(state.latents.defined());
    EXPECT_LE(predictor.device->put - predictor.device->finished, 2);
    if (step == 2) {
      EXPECT_EQ(state.look().floats()[0], 13);
    }
  };
  const DenoiseResult result = denoise(std::move(r));
  EXPECT_EQ(told, (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_EQ(result.latents.floats()[0], 15);
  EXPECT_EQ(result.seconds.size(), 5u);
  EXPECT_EQ(result.loop_break, "");
  EXPECT_TRUE(predictor.steps.empty()) << "nobody predicts on the host";
}

TEST(Denoise, WhatADeviceCannotDoBetweenStepsIsTheHosts) {
  OnSlowDevice predictor;
  const auto scheduler = euler(3);
  DenoiseRequest r = request(predictor, *scheduler, 0, 3, Tensor::zeros({1, 4, 2}));
  r.on_step_end = [](int, float, StepState&) {};
  const DenoiseResult result = denoise(std::move(r));
  EXPECT_EQ(predictor.steps, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(result.loop_break, "a callback is given the latents after each step (callback_on_step_end_tensor_inputs)");
}

TEST(Denoise, ACallbackSetsNoLatentsThatItWasNotGiven) {
  TwoModels predictor;
  const auto scheduler = euler(2);
  DenoiseRequest r = request(predictor, *scheduler, 0, 2, Tensor::zeros({1, 4, 2}));
  r.gives_latents = false;
  r.on_step_end = [](int, float, StepState& state) { state.latents = Tensor::zeros({1, 4, 2}); };
  EXPECT_THROW(denoise(std::move(r)), UsageError);
}

TEST(Denoise, ACallbackMustLeaveTheShape) {
  TwoModels predictor;
  const auto scheduler = euler(2);
  DenoiseRequest r = request(predictor, *scheduler, 0, 2, Tensor::zeros({1, 4, 2}));
  r.on_step_end = [](int, float, StepState& state) { state.latents = Tensor::zeros({1, 4, 3}); };
  EXPECT_THROW(denoise(std::move(r)), UsageError);
}

}  // namespace
}  // namespace vivace
