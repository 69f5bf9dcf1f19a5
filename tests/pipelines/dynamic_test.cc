// Dynamic shapes: one plan for every size, equal to plans of one size each; and what a call counts.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "components/models.h"
#include "vivace/vivace.h"

namespace vivace {
namespace {

const std::string kDynamicModel = std::string(VIVACE_SOURCE_DIR) + "/assets/emoji-xl";
const CompileOptions kStatic{.mode = CompileMode::default_};
const CompileOptions kDuck{.mode = CompileMode::default_, .dynamic = true};
const CompileOptions kDynamic{.mode = CompileMode::default_, .dynamic = true, .use_duck_shape = false};

int64_t plans_compiled() { return process_counters().plans_compiled; }

void expect_equal(const Tensor& a, const Tensor& b, const std::string& what) {
  ASSERT_EQ(a.shape(), b.shape()) << what;
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.bytes()), 0) << what;
}

// Where an inner size is 1, a static plan fuses what a dynamic one cannot: equal to rounding, as in tests/models.
const double kTolerance = 5 * std::sqrt(10.0 * 1000) * 0x1p-24;

// The largest difference in units of b's root mean square.
double distance(const Tensor& a, const Tensor& b) {
  double difference = 0, square = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    difference = std::max(difference, std::abs(static_cast<double>(a.floats()[i]) - b.floats()[i]));
    square += static_cast<double>(b.floats()[i]) * b.floats()[i];
  }
  return difference / std::sqrt(square / static_cast<double>(a.numel()));
}

void expect_close(const Tensor& a, const Tensor& b, const std::string& what) {
  ASSERT_EQ(a.shape(), b.shape()) << what;
  EXPECT_LT(distance(a, b), kTolerance) << what;
}

struct Size4 {
  int64_t batch, height, width, tokens;
};
std::string text(const Size4& s) { return to_string({s.batch, s.height, s.width, s.tokens}); }

Tensor denoise_once(UNet2DConditionModel& unet, const Size4& s) {
  Generator noise(7);
  const Tensor ids = Tensor::full({s.batch, 6}, 128);
  return unet(noise.randn({s.batch, 4, s.height, s.width}), 500, noise.randn({s.batch, s.tokens, 320}), {noise.randn({s.batch, 192}), ids});
}

TEST(Dynamic, UNetOfTwentySizesCompilesOnce) {
  // Every size that the three levels divide; batches, prompts and shapes of all kinds.
  const Size4 sizes[] = {{2, 8, 12, 77},  {1, 8, 8, 77},  {1, 4, 4, 77},  {1, 4, 16, 5},  {2, 12, 4, 1}, {3, 8, 4, 7},   {4, 4, 8, 77},
                         {1, 16, 16, 77}, {2, 8, 8, 20},  {1, 20, 4, 3},  {1, 4, 20, 77}, {2, 4, 4, 2},  {1, 12, 12, 9}, {4, 4, 4, 4},
                         {3, 4, 12, 33},  {1, 8, 16, 64}, {1, 16, 8, 77}, {2, 12, 8, 77}, {1, 24, 4, 8}, {2, 8, 12, 77}};
  auto dynamic = UNet2DConditionModel::from_pretrained(kDynamicModel + "/unet", {.compile = kDynamic});
  auto fixed = UNet2DConditionModel::from_pretrained(kDynamicModel + "/unet", {.compile = kStatic});
  denoise_once(dynamic, sizes[0]);
  const int64_t before = plans_compiled();
  std::vector<Tensor> results;
  for (const Size4& s : sizes) results.push_back(denoise_once(dynamic, s));
  EXPECT_EQ(plans_compiled(), before) << "a size was compiled";
  for (size_t i = 0; i < results.size(); ++i) {
    const bool inner_one = sizes[i].height == 4 && sizes[i].width == 4;
    (inner_one ? expect_close : expect_equal)(results[i], denoise_once(fixed, sizes[i]), text(sizes[i]));
  }
  EXPECT_EQ(plans_compiled(), before + 19) << "a static plan a size";
}

TEST(Dynamic, OddSizesHaveAPlanOfTheirOwn) {
  auto dynamic = UNet2DConditionModel::from_pretrained(kDynamicModel + "/unet", {.compile = kDynamic});
  auto fixed = UNet2DConditionModel::from_pretrained(kDynamicModel + "/unet", {.compile = kStatic});
  denoise_once(dynamic, {1, 8, 8, 77});
  const int64_t before = plans_compiled();
  const Tensor odd = denoise_once(dynamic, {1, 9, 6, 77}), other = denoise_once(dynamic, {2, 7, 12, 77}), even = denoise_once(dynamic, {1, 8, 4, 77});
  EXPECT_EQ(plans_compiled(), before + 1) << "one plan for all sizes that do not divide";
  expect_equal(odd, denoise_once(fixed, {1, 9, 6, 77}), "odd");
  expect_equal(other, denoise_once(fixed, {2, 7, 12, 77}), "other");
  expect_equal(even, denoise_once(fixed, {1, 8, 4, 77}), "even");
}

TEST(Dynamic, DuckShapesShareASymbol) {
  auto duck = UNet2DConditionModel::from_pretrained(kDynamicModel + "/unet", {.compile = kDuck});
  denoise_once(duck, {1, 8, 8, 77});
  const int64_t before = plans_compiled(), failed = process_counters().guards_failed;
  denoise_once(duck, {2, 4, 4, 9});
  EXPECT_EQ(plans_compiled(), before) << "still equal";
  denoise_once(duck, {1, 8, 12, 77});
  EXPECT_EQ(plans_compiled(), before + 1) << "height and width differ";
  EXPECT_EQ(process_counters().guards_failed, failed + 1);
  denoise_once(duck, {1, 12, 8, 77});
  denoise_once(duck, {3, 8, 8, 77});
  EXPECT_EQ(plans_compiled(), before + 1) << "both plans are remembered";
}

TEST(Dynamic, AutoencoderCompilesOnce) {
  auto dynamic = AutoencoderKL::from_pretrained(kDynamicModel + "/vae", {.compile = kDynamic});
  auto fixed = AutoencoderKL::from_pretrained(kDynamicModel + "/vae", {.compile = kStatic});
  Generator noise(3);
  dynamic.decode(noise.randn({1, 4, 3, 2}));
  dynamic.encode(noise.randn({1, 3, 24, 16}));
  int64_t before = plans_compiled();
  for (const Shape& shape : {Shape{1, 4, 4, 4}, {2, 4, 3, 5}, {1, 4, 1, 1}, {4, 4, 2, 2}, {1, 4, 8, 3}}) {
    const Tensor latents = noise.randn(shape), image = dynamic.decode(latents), mean = dynamic.encode(image).mean;
    EXPECT_EQ(plans_compiled(), before) << to_string(shape);
    const auto expect = shape[2] == 1 ? expect_close : expect_equal;
    expect(image, fixed.decode(latents), to_string(shape));
    expect(mean, fixed.encode(image).mean, to_string(shape));
    before = plans_compiled();  // of the static one
  }
}

TEST(Dynamic, TextEncoderCompilesOnce) {
  auto dynamic = CLIPTextModel::from_pretrained(kDynamicModel + "/text_encoder", {.compile = kDynamic});
  auto fixed = CLIPTextModel::from_pretrained(kDynamicModel + "/text_encoder", {.compile = kStatic});
  Generator noise(3);
  int64_t expected = -1;
  for (const Shape& shape : {Shape{1, 77}, {2, 77}, {1, 1}, {4, 13}, {3, 40}, {1, 76}}) {
    Tensor ids(shape, DType::int32);
    for (int64_t i = 0; i < ids.numel(); ++i) ids.as<int32_t>()[i] = static_cast<int32_t>(noise.random32() % 1000);
    const auto got = dynamic(ids);
    if (expected >= 0) {
      EXPECT_EQ(plans_compiled(), expected) << to_string(shape);
    }
    const auto want = fixed(ids);
    expect_equal(got.hidden_state, want.hidden_state, to_string(shape));
    expect_equal(got.pooler_output, want.pooler_output, to_string(shape));
    expected = plans_compiled();
  }
}

PipelineOutput draw_size(DiffusionPipeline& pipe, int steps, const char* scheduler = nullptr, StepCallback callback = nullptr) {
  if (scheduler) pipe.set_scheduler(make_scheduler(scheduler, pipe.scheduler().config()));
  return pipe(
      "a red apple",
      {.height = 32, .width = 64, .num_inference_steps = steps, .seed = 5, .output_latent = true, .callback_on_step_end = std::move(callback)});
}

TEST(Loop, TakesNoMemoryAndWaitsForNoDevice) {
  auto pipe = DiffusionPipeline::from_pretrained(kDynamicModel, {.compile = kStatic});
  for (const char* scheduler : {"euler", "ddim", "heun"}) {
    const CallCounters n = draw_size(pipe, 4, scheduler).counters;
    EXPECT_EQ(n.loop_allocations, 0) << scheduler;
    EXPECT_EQ(n.loop_host_device_syncs, 0) << scheduler;
  }
  int looked = 0;
  EXPECT_EQ(draw_size(pipe, 4, "euler", [&](const DiffusionPipeline&, int, float, StepState& state) { looked += state.latents.defined(); })
                .counters.loop_allocations,
            0);
  EXPECT_EQ(looked, 4);
}

TEST(Loop, WhatACallbackKeepsStays) {
  auto pipe = DiffusionPipeline::from_pretrained(kDynamicModel, {.compile = kStatic});
  std::vector<Tensor> kept, copies;
  const Tensor last = draw_size(pipe, 4, "euler", [&](const DiffusionPipeline&, int, float, StepState& state) {
                        kept.push_back(state.latents);
                        copies.push_back(state.latents.clone());
                      }).latents;
  for (size_t i = 0; i < kept.size(); ++i) expect_equal(kept[i], copies[i], "step " + std::to_string(i));
  expect_equal(kept.back(), last, "the last");
}

TEST(Loop, AnotherNumberOfStepsResizes) {
  auto pipe = DiffusionPipeline::from_pretrained(kDynamicModel, {.compile = kStatic});
  draw_size(pipe, 2);
  const CallCounters n = draw_size(pipe, 5).counters;
  EXPECT_EQ(n.plans_compiled, 0);
  EXPECT_EQ(n.plans_resized, 1);
}

// The same products in GEMMs of other heights; errors once a step, times the guidance scale of 5.
TEST(Loop, ScheduledTimeEmbeddingKeepsTheResult) {
  CompileOptions unscheduled = kStatic;
  unscheduled.disable_passes = {"schedule_time_embedding"};
  auto with = DiffusionPipeline::from_pretrained(kDynamicModel, {.compile = kStatic}),
       without = DiffusionPipeline::from_pretrained(kDynamicModel, {.compile = unscheduled});
  for (const char* scheduler : {"euler", "heun", "pndm", "dpmpp_2m"}) {
    const Tensor a = draw_size(with, 4, scheduler).latents, b = draw_size(without, 4, scheduler).latents;
    EXPECT_LT(distance(a, b), kTolerance * 5 * std::sqrt(8.0)) << scheduler;
  }
}

}  // namespace
}  // namespace vivace
