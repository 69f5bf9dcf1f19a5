// Calls of one pipeline and what they share: each has a scheduler, a stop and counters of its own.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "components/component.h"
#include "startup.h"

namespace vivace {
namespace {

CallOptions small(uint64_t seed, int steps = 3) { return {.height = 32, .width = 64, .num_inference_steps = steps, .seed = seed}; }

TEST(Requests, ACallLeavesThePipelinesSchedulerAsItIs) {
  auto pipe = DiffusionPipeline::from_pretrained(kModel);
  pipe.scheduler().set_timesteps(7);
  const std::vector<float> before = pipe.scheduler().timesteps();
  CallOptions call = small(1, 3);
  int seen = 0;
  call.callback_on_step_end = [&](const DiffusionPipeline&, int, float, StepState& state) { seen = state.num_timesteps; };
  pipe("a red apple", call);
  EXPECT_EQ(seen, 3);
  EXPECT_EQ(pipe.scheduler().timesteps(), before);
}

TEST(Requests, AStopEndsTheCallAndNothingElse) {
  auto pipe = DiffusionPipeline::from_pretrained(kModel);
  const Tensor expected = pipe("a red apple", small(1)).latents;
  std::stop_source stop;
  CallOptions call = small(1);
  int steps = 0;
  call.stop = stop.get_token();
  call.callback_on_step_end = [&](const DiffusionPipeline&, int, float, StepState&) {
    ++steps;
    stop.request_stop();
  };
  EXPECT_THROW(pipe("a red apple", call), Interrupted);
  EXPECT_EQ(steps, 1) << "the second step must not end";
  EXPECT_THROW(pipe("a red apple", call), Interrupted) << "stopped before it began";
  EXPECT_EQ(steps, 1);
  expect_equal(pipe("a red apple", small(1)).latents, expected);
}

// Half of a picture is decoded where the callback says so, and none where the call is stopped.
TEST(Requests, AnInterruptedLoopIsDecoded) {
  auto pipe = DiffusionPipeline::from_pretrained(kModel);
  CallOptions call = small(1);
  call.callback_on_step_end = [&](const DiffusionPipeline&, int, float, StepState& state) { state.interrupt = true; };
  const PipelineOutput out = pipe("a red apple", call);
  EXPECT_EQ(out.timings.steps.size(), 1u);
  EXPECT_EQ(out.images.size(), 1u);
}

// Each call with a picture of its own size, seed, steps and scheduler's history; alone first, then all at once.
TEST(Requests, ManyThreadsGetThePicturesTheyWouldGetAlone) {
  const auto pipe = DiffusionPipeline::from_pretrained(kModel, {.compile = {.mode = CompileMode::default_}});
  struct Wanted {
    std::string prompt;
    CallOptions call;
    Tensor latents, picture;
  };
  std::vector<Wanted> wanted;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    CallOptions call = small(seed, 2 + static_cast<int>(seed % 3));
    if (seed % 2) call.height = 64;
    wanted.push_back({seed % 2 ? "a red apple" : "a blue car", call, {}, {}});
    PipelineOutput alone = pipe(wanted.back().prompt, call);
    wanted.back().latents = std::move(alone.latents);
    wanted.back().picture = alone.images[0].tensor();
  }
  const auto fresh =
      DiffusionPipeline::from_pretrained(kModel, {.compile = {.mode = CompileMode::default_}});  // nothing compiled: they meet there too
  std::vector<std::jthread> threads;
  for (const Wanted& w : wanted)
    threads.emplace_back([&] {
      for (const DiffusionPipeline* shared : {&fresh, &pipe}) {
        const PipelineOutput out = (*shared)(w.prompt, w.call);
        expect_equal(out.latents, w.latents);
        expect_equal(out.images[0].tensor(), w.picture);
        EXPECT_EQ(out.timings.steps.size(), static_cast<size_t>(*w.call.num_inference_steps));
      }
    });
}

TEST(Requests, OneStopsAndTheOthersGoOn) {
  const auto pipe = DiffusionPipeline::from_pretrained(kModel);
  const Tensor expected = pipe("a red apple", small(1)).latents;
  std::atomic<int> finished{0}, stopped{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&, i] {
        std::stop_source stop;
        CallOptions call = small(1);
        call.stop = stop.get_token();
        if (i % 2) call.callback_on_step_end = [&](const DiffusionPipeline&, int, float, StepState&) { stop.request_stop(); };
        try {
          expect_equal(pipe("a red apple", call).latents, expected);
          ++finished;
        } catch (const Interrupted&) {
          ++stopped;
        }
      });
  }
  EXPECT_EQ(finished, 2);
  EXPECT_EQ(stopped, 2);
}

// Every call compiles for its scope alone, wherever else the scope of another thread ends.
TEST(Requests, AScopeIsItsThreads) {
  const auto pipe = DiffusionPipeline::from_pretrained(kModel);
  const Tensor plain = pipe("a red apple", small(1)).latents;
  Tensor math;
  {
    const sdpa_kernel scope(SDPBackend::math);
    math = pipe("a red apple", small(1)).latents;
  }
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      std::optional<sdpa_kernel> scope;
      if (i % 2) scope.emplace(SDPBackend::math);
      expect_equal(pipe("a red apple", small(1)).latents, i % 2 ? math : plain);
    });
}

TEST(Requests, PipelinesOfOneCheckpointShareWhatIsPrepared) {
  const PretrainedOptions options{.compile = {.mode = CompileMode::default_}};
  auto first = DiffusionPipeline::from_pretrained(kModel, options);
  const Tensor expected = first("a red apple", small(1)).latents;
  const int64_t before = process_counters().constants_prepared;
  EXPECT_GT(before, 0);
  auto second = DiffusionPipeline::from_pretrained(kModel, options);
  expect_equal(second("a red apple", small(1)).latents, expected);
  EXPECT_EQ(process_counters().constants_prepared, before);
  EXPECT_EQ(second.unet().component().constant_bytes(), first.unet().component().constant_bytes());

  // What one gives back no idle session of the other's holds.
  Request request;
  EXPECT_GT(first.unet().component().arena_bytes(), 0u);
  second.unet().component().give_back(request);
  EXPECT_EQ(first.unet().component().held_bytes(), 0u);
  expect_equal(first("a red apple", small(1)).latents, expected);
}

// Thirty sizes: what is kept of them stays within the bound, or is the last size's own.
TEST(Requests, MemoryOfThirtySizesIsBounded) {
  constexpr size_t kIdle = size_t{1} << 20;
  for (const bool dynamic : {false, true}) {
    auto pipe = DiffusionPipeline::from_pretrained(kModel, {.compile = {.mode = CompileMode::default_, .dynamic = dynamic}, .idle_bytes = kIdle});
    size_t largest = 0;
    for (int64_t i = 0; i < 30; ++i) {
      CallOptions call = small(1, 1);
      call.height = 32 + i % 6 * 32;
      call.width = 32 + i / 6 * 32;
      call.output_latent = true;
      pipe("a red apple", call);
      const size_t now = pipe.unet().component().arena_bytes();
      if (i == 0) largest = now;  // of one size alone; it grows with the picture
      EXPECT_LE(now, std::max(kIdle, largest * static_cast<size_t>(call.height * call.width) / (32 * 32))) << call.height << 'x' << call.width;
    }
  }
}

}  // namespace
}  // namespace vivace
