// Calls of one pipeline and what they share: each has a scheduler, a stop and counters of its own.
#include <gtest/gtest.h>

#include <cstring>

#include "vivace/vivace.h"

namespace vivace {
namespace {

const std::string kModel = std::string(VIVACE_SOURCE_DIR) + "/assets/emoji-xl";

CallOptions small(uint64_t seed, int steps = 3) { return {.height = 32, .width = 64, .num_inference_steps = steps, .seed = seed}; }

void expect_equal(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.bytes()), 0);
}

TEST(Requests, ACallLeavesThePipelinesSchedulerAsItIs) {
  auto pipe = DiffusionPipeline::from_pretrained(kModel);
  pipe.scheduler().set_timesteps(7);
  const std::vector<float> before = pipe.scheduler().timesteps();
  CallOptions call = small(1, 3);
  int seen = 0;
  call.callback_on_step_end = [&](DiffusionPipeline&, int, float, StepState& state) { seen = state.num_timesteps; };
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
  call.callback_on_step_end = [&](DiffusionPipeline&, int, float, StepState&) {
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
  call.callback_on_step_end = [&](DiffusionPipeline&, int, float, StepState& state) { state.interrupt = true; };
  const PipelineOutput out = pipe("a red apple", call);
  EXPECT_EQ(out.timings.steps.size(), 1u);
  EXPECT_EQ(out.images.size(), 1u);
}

}  // namespace
}  // namespace vivace
