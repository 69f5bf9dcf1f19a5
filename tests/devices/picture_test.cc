// A checkpoint on the checking device, end to end: the same pictures as the CPU's, and one wait a denoising step.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "backends/cpu/device.h"
#include "backends/devices.h"
#include "checking_device.h"
#include "vivace/vivace.h"

namespace vivace {
namespace {

const std::string kModel = std::string(VIVACE_SOURCE_DIR) + "/assets/emoji-xl";
constexpr int kSteps = 2;

PipelineOutput picture(const std::string& device, const CompileOptions& compile, Size size = {64, 64}) {
  add_checking_devices();
  auto pipe = DiffusionPipeline::from_pretrained(kModel, {.compile = compile, .device = device});
  return pipe("a red apple", {.height = size.first, .width = size.second, .num_inference_steps = kSteps, .seed = 1});
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
    EXPECT_EQ(got.counters.loop_host_device_syncs, kSteps - 1) << "one a step, after the first";
    EXPECT_EQ(got.counters.loop_allocations, 0);
  }
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
  EXPECT_EQ(got.counters.loop_host_device_syncs, kSteps - 1);
}

}  // namespace
}  // namespace vivace
