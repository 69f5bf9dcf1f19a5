// What a denoising loop does beside one model and a scheduler, on the checking device: bit for bit the CPU's, and no wait in the loop.
#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <stop_token>

#include "checking_device.h"
#include "controlled_model.h"
#include "video_pipelines/random_video_model.h"
#include "vivace/vivace.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = VIVACE_SOURCE_DIR;

// A pipeline on both devices.
struct Both {
  explicit Both(const fs::path& model, const PretrainedOptions& options = {}) {
    add_checking_devices();
    PretrainedOptions on = options;
    on.device = "cpu";
    cpu.emplace(DiffusionPipeline::from_pretrained(model, on));
    on.device = "checking";
    device.emplace(DiffusionPipeline::from_pretrained(model, on));
  }
  void set_scheduler(const char* name) {
    for (DiffusionPipeline* pipe : {&*cpu, &*device}) pipe->set_scheduler(make_scheduler(name, pipe->scheduler().config()));
  }
  void expect_equal(const CallOptions& call) {
    const PipelineOutput want = (*cpu)("a red apple", call), got = (*device)("a red apple", call);
    ASSERT_EQ(got.latents.shape(), want.latents.shape());
    EXPECT_EQ(std::memcmp(got.latents.data(), want.latents.data(), want.latents.bytes()), 0);
    EXPECT_EQ(got.counters.loop_host_device_syncs, 0);
    EXPECT_EQ(got.counters.loop_break, "");
    EXPECT_LE(got.counters.loop_allocations, want.counters.loop_allocations) << "those of the noise that is drawn";
  }
  std::optional<DiffusionPipeline> cpu, device;
};

CallOptions call_of(Size size, int steps) {
  return {.height = size.first, .width = size.second, .num_inference_steps = steps, .seed = 1, .output_latent = true};
}

TEST(Loops, RescaledGuidanceIsTheCPUs) {
  Both both(kSource / "assets/emoji-xl");
  CallOptions call = call_of({16, 24}, 3);
  call.guidance_rescale = 0.7;
  both.expect_equal(call);
  call.guidance_scale = 1;  // nothing is guided, nothing is rescaled
  both.expect_equal(call);
}

TEST(Loops, WhatAMaskKeepsIsTheCPUs) {
  Both both(kSource / "assets/emoji-xl", {.pipeline_class = "StableDiffusionXLInpaintPipeline"});
  CallOptions call = call_of({16, 24}, 4);
  call.image = test_picture(16, 24);
  std::vector<uint8_t> mask(16 * 24 * 3);
  for (size_t i = 0; i < mask.size(); ++i) mask[i] = i / 3 % 24 < 12 ? 255 : 0;
  call.mask_image = Image::from_pixels(16, 24, mask);
  call.strength = 0.8;
  both.expect_equal(call);
  both.set_scheduler("ddim");
  both.expect_equal(call);
}

// Each in its own steps of the run, of its own scale; and a net that reads the prompt alone.
TEST(Loops, WithControlNetsAreTheCPUs) {
  const TempFolder folder;
  const fs::path model = controlled_model(folder);
  Both both(model, {.controlnet = {model / "controlnet", model / "controlnet"}});
  CallOptions call = call_of({32, 48}, 5);
  call.control_image = {test_picture(32, 48), test_picture(64, 96).resized(32, 48)};
  both.expect_equal(call);
  call.controlnet_conditioning_scale = {0.8, 0.3};
  call.control_guidance_start = {0.2, 0.5};
  call.control_guidance_end = {0.7, 1};
  both.expect_equal(call);
  call.guess_mode = true;
  both.expect_equal(call);
  // One that is stopped has nothing under way in the nets' memory when others take them.
  CallOptions stopped = call;
  std::stop_source stop;
  stopped.stop = stop.get_token();
  stopped.callback_on_step_end = [&](const DiffusionPipeline&, int, float, StepState&) { stop.request_stop(); };
  stopped.callback_on_step_end_tensor_inputs.clear();
  EXPECT_THROW((*both.device)("a blue whale", stopped), Interrupted);
  call.guess_mode = false;
  both.expect_equal(call);
}

// Prompts that take turns in one session, guidance of its own at each step, latents that are packed.
TEST(Loops, OfVideosAreTheCPUs) {
  const TempFolder folder;
  Both both(random_video_model("2b", folder));
  CallOptions call = call_of({32, 48}, 4);
  call.num_frames = 9;
  both.set_scheduler("CogVideoXDPMScheduler");
  both.expect_equal(call);
  call.use_dynamic_cfg = true;
  both.set_scheduler("CogVideoXDDIMScheduler");
  both.expect_equal(call);
}

}  // namespace
}  // namespace vivace
