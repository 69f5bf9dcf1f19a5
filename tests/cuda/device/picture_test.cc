// Pictures by the CUDA backend: those of the CPU within rounding, no wait in the denoising loop, one recording a size.
#include <gtest/gtest.h>

#include <cmath>

#include "controlled_model.h"
#include "difference.h"
#include "host_device.h"
#include "runtime/request.h"
#include "video_pipelines/random_video_model.h"
#include "vivace/vivace.h"

namespace vivace {
namespace {

const std::string kAssets = std::string(VIVACE_SOURCE_DIR) + "/assets/";
constexpr int kSteps = 2;

DiffusionPipeline open(const std::string& model, const std::string& device, const CompileOptions& compile, DType dtype = DType::float32) {
  cuda::shared_host_gpu();
  return DiffusionPipeline::from_pretrained(kAssets + model, {.dtype = dtype, .compile = compile, .device = device});
}

CallOptions call_of(const std::string& model, uint64_t seed = 1, int64_t size = 16) {
  CallOptions call{.height = size, .width = size, .num_inference_steps = kSteps, .seed = seed};
  if (model == "emoji-flux") call.max_sequence_length = 24;
  return call;
}

// Sums of some thousand terms in another order, through a hundred layers and the steps.
const double kRounding = kSteps * std::sqrt(100.0 * 4096) * 0x1p-24 * 5;

// As PyTorch allows by default, float32 convolutions multiply as TF32.
class WithoutTF32 {
 public:
  WithoutTF32() { backends::cudnn::allow_tf32 = false; }
  ~WithoutTF32() { backends::cudnn::allow_tf32 = true; }
};

void expect_pictures(const std::string& model) {
  const WithoutTF32 exact;
  for (const CompileOptions& compile : {CompileOptions{}, CompileOptions{.mode = CompileMode::reduce_overhead}}) {
    const DiffusionPipeline cpu = open(model, "cpu", compile), gpu = open(model, "host-cuda", compile);
    const PipelineOutput want = cpu("a red apple", call_of(model)), got = gpu("a red apple", call_of(model));
    EXPECT_LT(difference(want.latents, got.latents), kRounding);
    EXPECT_EQ(got.counters.loop_host_device_syncs, 0);
    EXPECT_EQ(got.counters.loop_break, "");
    EXPECT_EQ(got.counters.loop_allocations, 0);
    int far = 0;
    for (size_t i = 0; i < want.images[0].pixels().size(); ++i) far += std::abs(int{want.images[0].pixels()[i]} - int{got.images[0].pixels()[i]}) > 1;
    EXPECT_EQ(far, 0) << "a value of 8 bits may round the other way";
  }
}

TEST(CudaPictures, EmojiXLIsTheCPUs) { expect_pictures("emoji-xl"); }
TEST(CudaPictures, EmojiFluxIsTheCPUs) { expect_pictures("emoji-flux"); }

// All that blocks is what the seam counts; a step, with guidance and the scheduler's part, is recorded once, whatever is then drawn.
TEST(CudaPictures, PromptsAndSeedsReplayOneRecording) {
  DiffusionPipeline pipe = open("emoji-xl", "host-cuda", {.mode = CompileMode::reduce_overhead});
  const cuda::HostDriver& driver = *cuda::shared_host_gpu().driver;
  pipe("a red apple", call_of("emoji-xl"));
  const RequestCounters before = process_counters();
  const cuda::HostDriver::Counts driver_before = driver.counts();
  pipe("a blue whale", call_of("emoji-xl", 2));
  CallOptions rescaled = call_of("emoji-xl", 3);
  rescaled.guidance_rescale = 0.5;
  pipe("a cat", rescaled);
  const RequestCounters after = process_counters();
  const cuda::HostDriver::Counts driver_after = driver.counts();
  EXPECT_EQ(driver_after.captures, driver_before.captures);
  EXPECT_EQ(after.steps_recorded, before.steps_recorded);
  EXPECT_EQ(after.steps_replayed - before.steps_replayed, 2 * kSteps + 2) << "a step, and a VAE's decoder, is one launch";
  EXPECT_EQ(driver_after.waits - driver_before.waits, after.host_device_syncs - before.host_device_syncs);
  EXPECT_EQ(driver_after.allocations, driver_before.allocations);
  EXPECT_EQ(after.plans_compiled, before.plans_compiled);
  // So does another scheduler, with noise of its own.
  pipe.set_scheduler(make_scheduler("euler_a", pipe.scheduler().config()));
  CallOptions call = call_of("emoji-xl");
  call.output_latent = true;
  const PipelineOutput noisy = pipe("a cat", call);
  EXPECT_EQ(noisy.counters.loop_host_device_syncs, 0);
  EXPECT_EQ(driver.counts().captures, driver_before.captures);
  EXPECT_EQ(process_counters().steps_replayed, after.steps_replayed + kSteps);
  DiffusionPipeline cpu = open("emoji-xl", "cpu", {.mode = CompileMode::reduce_overhead});
  cpu.set_scheduler(make_scheduler("euler_a", cpu.scheduler().config()));
  EXPECT_LT(difference(cpu("a cat", call).latents, noisy.latents), kSteps * std::sqrt(100.0) * 0x1p-11 * 5) << "convolutions in TF32";
  // And another number of steps.
  call.num_inference_steps = 3;
  pipe("a cat", call);
  EXPECT_EQ(driver.counts().captures, driver_before.captures);
  EXPECT_EQ(process_counters().steps_replayed, after.steps_replayed + kSteps + 3);
  // Another size is another recording.
  pipe("a cat", call_of("emoji-xl", 3, 32));
  EXPECT_GT(process_counters().steps_recorded, after.steps_recorded);
}

// A step that a net takes part in is recorded, and one that it does not.
TEST(CudaPictures, ControlNetsAreRecordedWithTheirUNet) {
  const WithoutTF32 exact;
  const TempFolder folder;
  const std::filesystem::path model = controlled_model(folder);
  cuda::shared_host_gpu();
  PretrainedOptions options{.compile = {.mode = CompileMode::reduce_overhead}, .controlnet = {model / "controlnet"}};
  const DiffusionPipeline cpu = DiffusionPipeline::from_pretrained(model, options);
  options.device = "host-cuda";
  const DiffusionPipeline gpu = DiffusionPipeline::from_pretrained(model, options);
  const cuda::HostDriver& driver = *cuda::shared_host_gpu().driver;
  CallOptions call = call_of(model);
  call.control_image = {test_picture(16, 16)};
  call.control_guidance_end = {0.5};
  call.output_latent = true;
  const PipelineOutput want = cpu("a red apple", call), got = gpu("a red apple", call);
  EXPECT_LT(difference(want.latents, got.latents), kRounding);
  EXPECT_EQ(got.counters.loop_break, "");
  EXPECT_EQ(got.counters.loop_host_device_syncs, 0);
  const int64_t captures = driver.counts().captures, replayed = process_counters().steps_replayed;
  EXPECT_EQ(difference(got.latents, gpu("a red apple", call).latents), 0);
  EXPECT_EQ(driver.counts().captures, captures);
  EXPECT_EQ(process_counters().steps_replayed, replayed + kSteps);
}

// What each prompt's turn sets up in the session is a part of the step, and of its recording.
TEST(CudaPictures, PromptsThatTakeTurnsAreOneRecording) {
  const WithoutTF32 exact;
  const TempFolder folder;
  const std::string model = random_video_model("5b", folder);
  const CompileOptions compile{.mode = CompileMode::reduce_overhead};
  cuda::shared_host_gpu();
  const DiffusionPipeline cpu = DiffusionPipeline::from_pretrained(model, {.compile = compile});
  const DiffusionPipeline gpu = DiffusionPipeline::from_pretrained(model, {.compile = compile, .device = "host-cuda"});
  CallOptions call = call_of(model);
  call.num_frames = 1;
  call.max_sequence_length = 8;
  call.output_latent = true;
  const PipelineOutput want = cpu("a red apple", call), got = gpu("a red apple", call);
  EXPECT_LT(difference(want.latents, got.latents), kRounding);
  EXPECT_EQ(got.counters.loop_break, "");
  EXPECT_EQ(got.counters.loop_host_device_syncs, 0);
  const int64_t captures = cuda::shared_host_gpu().driver->counts().captures, replayed = process_counters().steps_replayed;
  EXPECT_GT(difference(got.latents, gpu("a blue whale", call).latents), 0);
  EXPECT_EQ(difference(got.latents, gpu("a red apple", call).latents), 0);
  EXPECT_EQ(cuda::shared_host_gpu().driver->counts().captures, captures);
  EXPECT_EQ(process_counters().steps_replayed, replayed + 2 * kSteps);
}

// On both machines linears lose the same bits: their pictures are nearer to each other than to the one without a loss.
TEST(CudaPictures, LinearsOfEightBits) {
  const WithoutTF32 exact;
  const auto latents = [](const std::string& device, bool quantised) {
    DiffusionPipeline pipe = open("emoji-xl", device, {.mode = CompileMode::default_});
    if (quantised) apply_dynamic_quant(pipe.unet(), quantize_all);
    CallOptions call = call_of("emoji-xl");
    call.num_inference_steps = 1;
    return pipe("a red apple", call).latents;
  };
  const Tensor whole = latents("cpu", false), cpu = latents("cpu", true), gpu = latents("host-cuda", true);
  const double lost = difference(whole, cpu);
  EXPECT_GT(lost, kRounding);
  EXPECT_LT(difference(cpu, gpu), lost);
  EXPECT_GT(difference(whole, gpu), lost / 2);
}

// The same bytes on both machines where they are of the same numbers: the layer that reads the noise. Deeper in, a last bit of float32 that rounds
// another way grows from layer to layer, at most to what the bytes lose.
TEST(CudaPictures, LinearsOfFloat8) {
  const WithoutTF32 exact;
  const auto latents = [](const std::string& device, const QuantizeFilter& filter) {
    DiffusionPipeline pipe = open("emoji-flux", device, {.mode = CompileMode::default_});
    if (filter) apply_dynamic_quant(pipe.transformer(), filter, Quantization::float8_dynamic);
    CallOptions call = call_of("emoji-flux");
    call.num_inference_steps = 1;
    return pipe("a red apple", call).latents;
  };
  const Tensor whole = latents("cpu", nullptr);
  for (const auto& [filter, bound] : {std::pair{"all", 1.}, {"name~x_embedder", 0.}}) {
    const QuantizeFilter layers = parse_quantize_filter(filter);
    const Tensor cpu = latents("cpu", layers), gpu = latents("host-cuda", layers);
    const double lost = difference(whole, cpu);
    EXPECT_GT(lost, kRounding) << filter;
    EXPECT_LT(difference(cpu, gpu), std::max(kRounding, bound * lost)) << filter;
  }
}

// Factors of eleven bits, as deep.
TEST(CudaPictures, ConvolutionsMultiplyAsTF32ByDefault) {
  const DiffusionPipeline gpu = open("emoji-xl", "host-cuda", {});
  const Tensor want = open("emoji-xl", "cpu", {})("a red apple", call_of("emoji-xl")).latents;
  if (!cuda::shared_host_gpu().driver->dnn()) GTEST_SKIP() << "this build has no cuDNN";
  const double off = difference(want, gpu("a red apple", call_of("emoji-xl")).latents);
  EXPECT_LT(off, kSteps * std::sqrt(100.0) * 0x1p-11 * 5);
  EXPECT_GT(off, 0x1p-16);
}

TEST(CudaPictures, APipelineMoves) {
  const WithoutTF32 exact;
  DiffusionPipeline pipe = open("emoji-xl", "cpu", {});
  const PipelineOutput want = pipe("a red apple", call_of("emoji-xl"));
  pipe.to("host-cuda");
  const int64_t launches = cuda::shared_host_gpu().driver->counts().launches;
  EXPECT_LT(difference(want.latents, pipe("a red apple", call_of("emoji-xl")).latents), kRounding);
  EXPECT_GT(cuda::shared_host_gpu().driver->counts().launches, launches);
  pipe.to("cpu");
  EXPECT_EQ(difference(want.latents, pipe("a red apple", call_of("emoji-xl")).latents), 0);
}

}  // namespace
}  // namespace vivace
