// Weights that wait in pinned memory, on a GPU that has no room for them: the same pictures bit for bit, no wait in the loop, recorded all the same,
// and no more memory than was planned.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "backends/cuda/stream.h"
#include "backends/devices.h"
#include "host_device.h"
#include "pipelines/memory_plan.h"
#include "runtime/request.h"
#include "vivace/vivace.h"

namespace vivace {
namespace {

const std::string kStreamedAssets = std::string(VIVACE_SOURCE_DIR) + "/assets/";
constexpr int kStreamedSteps = 2;  // the first is recorded, the second replayed

// A GPU of its own, whose memory nobody else takes.
DiffusionPipeline open_streamed(const std::string& model, const cuda::HostGpu& gpu, PretrainedOptions options) {
  static std::shared_ptr<Device> now;
  static const bool once = [] {
    devices().push_back({"small-cuda", [](int) { return now; }});
    return true;
  }();
  (void)once;
  now = gpu.device;
  options.device = "small-cuda";
  return DiffusionPipeline::from_pretrained(kStreamedAssets + model, options);
}

CallOptions streamed_call(const std::string& model) {
  CallOptions call{.height = 16, .width = 16, .num_inference_steps = kStreamedSteps, .seed = 1};
  if (model == "emoji-flux") call.max_sequence_length = 24;
  return call;
}

MemoryPlan plan_of(DiffusionPipeline& pipe, const CallOptions& options) {
  const Recipe& recipe = *pipe.loaded().recipe;
  Request request;
  Call call = recipe.resolve("a red apple", options);
  call.timesteps = kStreamedSteps;
  return plan_memory(recipe, pipe.loaded().parts, call, request);
}

void expect_equal(const PipelineOutput& got, const PipelineOutput& want) {
  ASSERT_EQ(got.latents.shape(), want.latents.shape());
  EXPECT_EQ(std::memcmp(got.latents.data(), want.latents.data(), want.latents.bytes()), 0);
  EXPECT_EQ(got.images.at(0).pixels(), want.images.at(0).pixels());
  EXPECT_EQ(got.counters.loop_host_device_syncs, 0);
  EXPECT_EQ(got.counters.loop_break, "");
  EXPECT_EQ(got.counters.loop_allocations, 0);
}

// Copies may be done at once or at the last moment.
void expect_pictures_in_less(const std::string& model, const std::string& denoiser, CompileMode mode, bool early) {
  CallOptions call = streamed_call(model);
  const PretrainedOptions options{.compile = {.mode = mode}};
  const cuda::HostGpu roomy = cuda::host_gpu(), small = cuda::host_gpu({.early = early});
  DiffusionPipeline whole = open_streamed(model, roomy, options);
  const PipelineOutput want = whole("a red apple", call);
  const MemoryPlan plan = plan_of(whole, call);
  const MemoryNeed& need = std::ranges::find(plan.rows, denoiser, &MemoryPlan::Row::part)->need;
  const auto weights = static_cast<size_t>(need.weights);

  DiffusionPipeline pipe = open_streamed(model, small, options);
  pipe.loaded().max_memory = weights * 3 / 4 + static_cast<size_t>(need.activations);
  // As soon as it denoises: beside a model none of whose weights wait, up to 256 MB that they were made of are there while they are prepared.
  size_t most = 0;
  call.callback_on_step_end = [&](const DiffusionPipeline&, int, float, StepState&) { most = most ? most : small.driver->counts().most_bytes; };
  call.callback_on_step_end_tensor_inputs.clear();
  for (int turn = 0; turn < 2; ++turn) {
    SCOPED_TRACE(turn);
    const RequestCounters before = process_counters();
    const int64_t captures = small.driver->counts().captures;
    expect_equal(pipe("a red apple", call), want);
    const Component& component = pipe.model(denoiser).component();
    EXPECT_GE(component.host_bytes(), weights * 9 / 10) << "equal ones are kept once";
    EXPECT_LT(component.resident_bytes(), weights * 3 / 4);
    EXPECT_GT(component.resident_bytes(), 0u) << "what there is room for stays";
    EXPECT_GT(most, 0u);
    EXPECT_LE(most, pipe.loaded().max_memory);
    const RequestCounters after = process_counters();
    EXPECT_EQ(after.steps_recorded - before.steps_recorded, small.driver->counts().captures - captures);
    EXPECT_GE(after.steps_replayed - before.steps_replayed, mode == CompileMode::reduce_overhead ? kStreamedSteps - 1 : 0);
    EXPECT_TRUE(turn == 0 || after.plans_compiled == before.plans_compiled);
  }
}

TEST(CudaWeightStreams, EmojiXLIsDrawnInLessMemoryThanItsWeightsTake) {
  expect_pictures_in_less("emoji-xl", "unet", CompileMode::reduce_overhead, true);
}

TEST(CudaWeightStreams, EmojiFluxIsDrawnInLessMemoryThanItsWeightsTake) {
  expect_pictures_in_less("emoji-flux", "transformer", CompileMode::off, true);
  expect_pictures_in_less("emoji-flux", "transformer", CompileMode::reduce_overhead, false);
}

TEST(CudaWeightStreams, SequentialKeepsNoneOnTheDevice) {
  const CallOptions call = streamed_call("emoji-xl");
  const cuda::HostGpu roomy = cuda::host_gpu(), gpu = cuda::host_gpu();
  const PipelineOutput want = open_streamed("emoji-xl", roomy, {})("a red apple", call);
  DiffusionPipeline pipe = open_streamed("emoji-xl", gpu, {});
  pipe.enable_sequential_cpu_offload();
  int64_t prepared = 0;
  for (int turn = 0; turn < 2; ++turn) {
    expect_equal(pipe("a red apple", call), want);
    for (const std::string& part : pipe.models()) {
      EXPECT_EQ(pipe.model(part).component().held_bytes(), 0u) << part;
      EXPECT_GT(pipe.model(part).component().host_bytes(), 0u) << part;
    }
    EXPECT_TRUE(turn == 0 || process_counters().constants_prepared == prepared) << "they wait";
    prepared = process_counters().constants_prepared;
  }
  EXPECT_LT(gpu.driver->counts().most_bytes, roomy.driver->counts().most_bytes / 2);
}

// And where a wait between the two streams were missing it would show: in a copy that comes too late, or too soon.
TEST(CudaWeightStreams, CopiesAheadKeepTheirPlaceAmongTheKernels) {
  for (const bool early : {false, true})
    for (const bool forgets : {false, true}) {
      SCOPED_TRACE(testing::Message() << early << forgets);
      const cuda::HostGpu gpu = cuda::host_gpu({.early = early, .forgets_waits = forgets});
      const auto stream = gpu.device->stream();
      const auto lane = gpu.device->allocate(4), seen = gpu.device->allocate(8), host = gpu.device->allocate(4, Memory::host);
      const int32_t old = 7, next = 9;
      std::memcpy(host.get(), &next, 4);
      RequestCounters counters;
      stream->copy_in(lane.get(), &old, 4);
      stream->wait(counters);
      stream->copy(seen.get(), lane.get(), 4);
      const HostCopy copy{lane.get(), host.get(), 4};
      stream->ahead(1, {&copy, 1});
      stream->need(1);
      stream->copy(static_cast<int32_t*>(seen.get()) + 1, lane.get(), 4);
      int32_t got[2];
      stream->copy_out(got, seen.get(), 8);
      stream->wait(counters);
      EXPECT_EQ(got[0], forgets && early ? 9 : 7);
      EXPECT_EQ(got[1], forgets && !early ? 7 : 9);
    }
}

TEST(CudaWeightStreams, OneThatNobodyNeededIsDoneByTheWait) {
  const cuda::HostGpu gpu = cuda::host_gpu();
  const auto stream = gpu.device->stream();
  const auto lane = gpu.device->allocate(4), host = gpu.device->allocate(4, Memory::host);
  const int32_t sent = 9;
  std::memcpy(host.get(), &sent, 4);
  const HostCopy copy{lane.get(), host.get(), 4};
  stream->ahead(0, {&copy, 1});
  RequestCounters counters;
  stream->wait(counters);
  EXPECT_EQ(counters.host_device_syncs, 1);
  int32_t got = 0;
  stream->copy_out(&got, lane.get(), 4);
  stream->wait(counters);
  EXPECT_EQ(got, 9);
}

}  // namespace
}  // namespace vivace
