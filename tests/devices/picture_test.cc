// A checkpoint on the checking device, end to end: the same pictures as the CPU's, and no wait in the denoising loop.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <stop_token>

#include "backends/cpu/device.h"
#include "backends/devices.h"
#include "checking_device.h"
#include "vivace/vivace.h"

namespace vivace {
namespace {

const std::string kModel = std::string(VIVACE_SOURCE_DIR) + "/assets/emoji-xl";
constexpr int kSteps = 2;

DiffusionPipeline open(const std::string& device, const CompileOptions& compile = {}, Offload offload = Offload::automatic) {
  add_checking_devices();
  return DiffusionPipeline::from_pretrained(kModel, {.compile = compile, .device = device, .offload = offload});
}

CallOptions picture_call(Size size, int steps = kSteps) {
  return {.height = size.first, .width = size.second, .num_inference_steps = steps, .seed = 1};
}

PipelineOutput picture(const std::string& device, const CompileOptions& compile, Size size = {64, 64}) {
  return open(device, compile)("a red apple", picture_call(size));
}

void expect_equal(const PipelineOutput& a, const PipelineOutput& b) {
  ASSERT_EQ(a.latents.shape(), b.latents.shape());
  EXPECT_EQ(std::memcmp(a.latents.data(), b.latents.data(), a.latents.bytes()), 0);
  ASSERT_EQ(a.images.size(), 1u);
  EXPECT_EQ(a.images[0].pixels(), b.images[0].pixels());
}

TEST(Pictures, AreTheCPUsBitForBit) {
  for (const CompileOptions& compile : {CompileOptions{}, CompileOptions{.mode = CompileMode::default_, .dynamic = true}}) {
    const PipelineOutput want = picture("cpu", compile), got = picture("checking", compile);
    expect_equal(got, want);
    EXPECT_EQ(want.counters.loop_host_device_syncs, 0);
    EXPECT_EQ(got.counters.loop_host_device_syncs, 0);
    EXPECT_EQ(got.counters.loop_break, "");
    EXPECT_EQ(got.counters.loop_allocations, 0);
    EXPECT_EQ(got.timings.steps.size(), static_cast<size_t>(kSteps));
  }
}

// History, noise, clipped predictions, two model calls a step: all of it are rows of a table.
TEST(Pictures, OfAnySchedulerAreTheCPUs) {
  DiffusionPipeline cpu = open("cpu"), device = open("checking");
  CallOptions call = picture_call({16, 16}, 5);
  call.output_latent = true;
  const std::string config = cpu.scheduler().config();
  for (const char* name : {"euler", "euler_a", "ddim", "ddpm", "dpmpp_2m_sde", "dpmpp_sde", "heun", "unipc", "pndm", "lcm", "sa_solver", "tcd"}) {
    SCOPED_TRACE(name);
    for (DiffusionPipeline* pipe : {&cpu, &device}) pipe->set_scheduler(make_scheduler(name, config));
    const PipelineOutput want = cpu("a red apple", call), got = device("a red apple", call);
    ASSERT_EQ(want.latents.shape(), got.latents.shape());
    EXPECT_EQ(std::memcmp(want.latents.data(), got.latents.data(), want.latents.bytes()), 0);
    EXPECT_EQ(got.counters.loop_host_device_syncs, 0);
    EXPECT_EQ(got.counters.loop_break, "");
  }
}

// A callback that looks at some steps and ends the run: the device has done no more than it said.
TEST(Pictures, ACallbackMayLookAndEndTheRun) {
  const auto draw = [](const std::string& device, std::vector<Tensor>& seen) {
    CallOptions call = picture_call({16, 16}, 6);
    call.callback_on_step_end = [&](const DiffusionPipeline&, int step, float, StepState& state) {
      EXPECT_FALSE(state.latents.defined());
      if (step == 1) seen.push_back(state.look().clone());
      state.interrupt = step == 3;
    };
    call.callback_on_step_end_tensor_inputs.clear();
    return open(device)("a red apple", call);
  };
  std::vector<Tensor> of_cpu, of_device;
  const PipelineOutput want = draw("cpu", of_cpu), got = draw("checking", of_device);
  expect_equal(got, want);
  EXPECT_EQ(got.timings.steps.size(), 4u);
  EXPECT_EQ(got.counters.loop_host_device_syncs, 1) << "the look";
  ASSERT_EQ(of_device.size(), 1u);
  EXPECT_EQ(std::memcmp(of_cpu[0].data(), of_device[0].data(), of_cpu[0].bytes()), 0);
}

// Layer by layer, through memory that holds something else before and behind each segment's kernels.
TEST(Pictures, AreTheSameWithWeightsThatWaitInTheHostsMemory) {
  for (const CompileOptions& compile : {CompileOptions{}, CompileOptions{.mode = CompileMode::default_}}) {
    const DiffusionPipeline pipe = open("checking", compile, Offload::sequential);
    const PipelineOutput want = picture("cpu", compile);
    for (int turn = 0; turn < 2; ++turn) {
      const PipelineOutput got = pipe("a red apple", picture_call({64, 64}));
      expect_equal(got, want);
      EXPECT_EQ(got.counters.loop_host_device_syncs, 0);
      EXPECT_EQ(got.counters.loop_allocations, 0);
    }
  }
}

class StoppedPictures : public testing::TestWithParam<Offload> {};
INSTANTIATE_TEST_SUITE_P(Offloads, StoppedPictures, testing::Values(Offload::automatic, Offload::sequential));

TEST_P(StoppedPictures, LeaveTheNextAlone) {
  const DiffusionPipeline pipe = open("checking", {}, GetParam());
  CallOptions call = picture_call({16, 16}, 6);
  std::stop_source stop;
  call.stop = stop.get_token();
  int steps = 0;
  call.callback_on_step_end = [&](const DiffusionPipeline&, int, float, StepState&) {
    ++steps;
    stop.request_stop();
  };
  call.callback_on_step_end_tensor_inputs.clear();
  EXPECT_THROW(pipe("a blue whale", call), Interrupted);
  EXPECT_EQ(steps, 1);
  expect_equal(pipe("a red apple", picture_call({16, 16})), picture("cpu", {}, {16, 16}));
}

TEST(Pictures, APredictionThatIsNotFiniteIsToldWithItsStep) {
  for (const std::string device : {"cpu", "checking"}) {
    CallOptions call = picture_call({16, 16});
    const DiffusionPipeline pipe = open(device);
    call.latents = Tensor::zeros(pipe("a red apple", picture_call({16, 16})).latents.shape());
    call.latents.floats()[3] = INFINITY;
    try {
      pipe("a red apple", call);
      FAIL() << device;
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find("gave a NaN or an infinity at step 1 of 2 (timestep "), std::string::npos) << error.what();
    }
  }
}

// What is between the steps and wants the latents, or looks at whole pictures, is the host's: a wait a step, and the reason.
TEST(Pictures, BreaksOfTheLoopAreTold) {
  DiffusionPipeline cpu = open("cpu"), device = open("checking");
  const auto expect_break = [&](const CallOptions& call, const std::string& reason) {
    SCOPED_TRACE(reason);
    const PipelineOutput want = cpu("a red apple", call), got = device("a red apple", call);
    expect_equal(got, want);
    EXPECT_EQ(got.counters.loop_host_device_syncs, kSteps - 1) << "one a step, after the first";
    EXPECT_NE(got.counters.loop_break.find(reason), std::string::npos) << got.counters.loop_break;
    EXPECT_EQ(want.counters.loop_break, "") << "the CPU waits for nothing";
  };
  CallOptions call = picture_call({16, 16});
  call.callback_on_step_end = [](const DiffusionPipeline&, int, float, StepState& state) { state.latents.floats()[0] *= 2; };
  expect_break(call, "callback_on_step_end_tensor_inputs");
  call = picture_call({16, 16});
  for (DiffusionPipeline* pipe : {&cpu, &device}) pipe->set_scheduler(make_scheduler("ddim", pipe->scheduler().config(), "{\"thresholding\": true}"));
  expect_break(call, "thresholding");
}

// Norms on the host: each costs two copies and a wait, and nothing else changes.
TEST(Pictures, AreTheSameWithGraphBreaks) {
  add_checking_devices();
  devices().push_back({"breaking", [](int) -> std::shared_ptr<Device> {
                         return std::make_shared<CheckingDevice>(cpu::device()->kernels(),
                                                                 [](const KernelEntry& entry) { return entry.op == Op::layer_norm; });
                       }});
  const CompileOptions compile{.mode = CompileMode::default_};
  const PipelineOutput got = picture("breaking", compile);
  expect_equal(got, picture("cpu", compile));
  EXPECT_GT(got.counters.loop_host_device_syncs, 2 * (kSteps - 1));
}

TEST(Pictures, TheOraclesKernelsAgree) {
  const PipelineOutput want = picture("cpu", {}, {16, 16}), got = picture("oracle", {}, {16, 16});
  double difference = 0, square = 0;
  for (int64_t i = 0; i < want.latents.numel(); ++i) {
    const double d = got.latents.floats()[i] - want.latents.floats()[i];
    difference += d * d;
    square += static_cast<double>(want.latents.floats()[i]) * want.latents.floats()[i];
  }
  // Sums of up to some thousand terms in float32 against float64, through a hundred layers and the steps.
  EXPECT_LT(std::sqrt(difference / square), kSteps * std::sqrt(100.0 * 4096) * 0x1p-24 * 5);
  EXPECT_EQ(got.counters.loop_host_device_syncs, 0);
}

}  // namespace
}  // namespace vivace
