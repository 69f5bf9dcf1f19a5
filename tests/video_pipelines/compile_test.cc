// How CogVideoX compiles, and what its pipelines refuse.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

#include "components/models.h"
#include "difference.h"
#include "pipelines/loaded.h"
#include "pipelines/memory_plan.h"
#include "random_video_model.h"
#include "vivace/c.h"
#include "vivace/vivace.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

CallOptions small_call(int frames = 9, int64_t height = 32, int64_t width = 48) {
  return {.height = height, .width = width, .num_inference_steps = 2, .num_frames = frames, .seed = 3, .output_latent = true};
}

// Sums in another order: a rounding of float32 for each of some thousand terms, a few times over in two steps with guidance.
const double kRounding = 40 * std::sqrt(1000.) * 0x1p-24;

GraphRequest denoiser_request(DiffusionPipeline& pipe, const CallOptions& call) {
  const Recipe& recipe = *pipe.loaded().recipe;
  for (SessionNeed& need : recipe.sessions_for(recipe.resolve("a panda", call)))
    if (need.stage == Stage::denoise) return std::move(need.request);
  ADD_FAILURE() << "nothing denoises";
  return {};
}

Plan plan_of(DiffusionPipeline& pipe, const CallOptions& call) {
  Request request;
  return pipe.transformer().component().plan(denoiser_request(pipe, call), request);
}

int64_t steps_of(const Plan& plan, Op op) { return std::ranges::count(plan.step, op, &PlanStep::op); }

TEST(CogVideoX, FramesAndSizesTakeOnePlan) {
  const TempFolder folder;
  const fs::path model = random_video_model("5b", folder);
  const CompileOptions dynamic{.mode = CompileMode::default_, .dynamic = true, .use_duck_shape = false};
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(model, {.compile = dynamic}), fixed = DiffusionPipeline::from_pretrained(model);
  bool first = true;
  for (int frames : {9, 1, 17})
    for (int64_t height : {16, 32, 64}) {
      const PipelineOutput out = pipe("a panda", small_call(frames, height));
      EXPECT_EQ(out.counters.plans_compiled, first ? 2 : 0) << "text encoder and transformer";
      EXPECT_EQ(out.counters.guards_failed, 0);
      first = false;
      EXPECT_LT(difference(fixed("a panda", small_call(frames, height)).latents, out.latents), kRounding) << frames << ", " << height;
    }
}

// One video: text and video lie in one buffer, and what reads a part of it reads it there; the norms' scale and shift, the gates and the sums are no
// passes of their own.
TEST(CogVideoX, AJointSequenceIsNotCopied) {
  for (const char* name : {"2b", "5b"}) {
    const TempFolder folder;
    DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_video_model(name, folder));
    pipe.transformer().compile({.mode = CompileMode::default_, .fullgraph = true});
    const Plan plan = plan_of(pipe, small_call());
    EXPECT_EQ(steps_of(plan, Op::slice), 0) << name;
    EXPECT_EQ(std::ranges::count_if(plan.step, [](const PlanStep& s) { return s.op == Op::concat && s.attrs.integer("axis") == 1; }), 0) << name;
    EXPECT_EQ(steps_of(plan, Op::add) + steps_of(plan, Op::mul) + steps_of(plan, Op::gelu_tanh), 0) << name;
  }
}

TEST(CogVideoX, FusedProjectionsAreOneLinear) {
  const TempFolder folder;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_video_model("5b", folder));
  const Tensor apart = pipe("a panda", small_call()).latents;
  const int64_t before = steps_of(plan_of(pipe, small_call()), Op::linear);
  pipe.transformer().fuse_qkv_projections();
  EXPECT_EQ(steps_of(plan_of(pipe, small_call()), Op::linear), before - 3 * 2);
  EXPECT_LT(difference(apart, pipe("a panda", small_call()).latents), kRounding);
}

// Diffusers' class lists no repeated blocks; what repeats in the graph is found all the same.
TEST(CogVideoX, RepeatedBlocksAreNoneAndRegionsAreFound) {
  const TempFolder folder;
  const fs::path model = random_video_model("5b", folder);
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(model);
  const Tensor eager = pipe("a panda", small_call()).latents;
  EXPECT_NE(message_of<UsageError>([&] { pipe.transformer().compile_repeated_blocks(); }).find("repeated blocks"), std::string::npos);
  pipe.transformer().compile_regions();
  const Plan plan = plan_of(pipe, small_call());
  // The last one is of another kind: nobody reads what it makes of the text.
  const auto block = std::ranges::find(plan.regions, "transformer_blocks.0", &PlanRegion::scope);
  ASSERT_NE(block, plan.regions.end());
  EXPECT_EQ(block->occurrences, 2);
  EXPECT_LT(difference(eager, pipe("a panda", small_call()).latents), kRounding);
}

// 8 bits: the noise of a hundred products' roundings, amplified by guidance.
TEST(CogVideoX, RunsInEightBits) {
  const TempFolder folder;
  const fs::path model = random_video_model("5b", folder);
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(model);
  const Tensor exact = pipe("a panda", small_call()).latents;
  apply_dynamic_quant(pipe.transformer(), transformer_quant_filter_fn);
  const double error = difference(exact, pipe("a panda", small_call()).latents);
  EXPECT_LT(error, 0.2);
  EXPECT_GT(error, kRounding) << "nothing ran in 8 bits";
}

// Diffusers makes one video a prompt, whatever it is asked for.
TEST(CogVideoX, SeveralVideosAPromptAreThoseOfTheirGenerators) {
  const TempFolder folder;
  const DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_video_model("5b", folder));
  CallOptions call = small_call();
  call.num_images_per_prompt = 2;
  call.seed.reset();
  call.seeds = {4, 5};
  const Tensor both = pipe("a panda", call).latents;
  for (int64_t n = 0; n < 2; ++n) {
    CallOptions one = small_call();
    one.seed = call.seeds[static_cast<size_t>(n)];
    EXPECT_LT(difference(pipe("a panda", one).latents, both.rows(n, n + 1)), kRounding);
  }
}

TEST(CogVideoX, APackageServesItsCalls) {
  const TempFolder folder;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_video_model("i2v", folder), {.compile = {.mode = CompileMode::default_}});
  const fs::path path = folder.path() / "cog.vivace";
  export_package(pipe, path, {.sizes = {{32, 48}}, .num_frames = 9});
  const DiffusionPipeline packaged = DiffusionPipeline::from_pretrained(path);
  CallOptions call = small_call();
  call.image = Image::from_tensor(Tensor::full({32, 48, 3}, 0.25));
  const PipelineOutput out = packaged("a panda", call);
  EXPECT_EQ(out.counters.plans_compiled, 0);
  EXPECT_EQ(difference(pipe("a panda", call).latents, out.latents), 0);
}

TEST(CogVideoX, IsRefusedByTheCApiWhichHasNoVideos) {
  const TempFolder folder;
  VivacePipeline* pipe = nullptr;
  EXPECT_EQ(vivace_pipeline_load(random_video_model("2b", folder).c_str(), nullptr, &pipe), VIVACE_USAGE);
  EXPECT_EQ(pipe, nullptr);
  EXPECT_NE(std::string(vivace_last_error()).find("CogVideoXPipeline makes videos"), std::string::npos) << vivace_last_error();
}

TEST(CogVideoX, RefusesWhatItCannotDo) {
  const TempFolder a, b, c;
  DiffusionPipeline text = DiffusionPipeline::from_pretrained(random_video_model("2b", a));
  DiffusionPipeline image = DiffusionPipeline::from_pretrained(random_video_model("i2v", b));
  DiffusionPipeline next = DiffusionPipeline::from_pretrained(random_video_model("1.5", c));
  const auto refusal = [](DiffusionPipeline& pipe, const CallOptions& call) { return message_of<UsageError>([&] { pipe("a panda", call); }); };
  const auto expect = [](const std::string& message, const char* part) { EXPECT_NE(message.find(part), std::string::npos) << message; };
  for (int frames : {0, -1, 1'000'000}) expect(refusal(text, small_call(frames)), "expected 1 to 16384, best of all 8 N + 1, as 9");
  expect(refusal(text, small_call(9, 24)), "height is 24: expected a positive multiple of 16");
  CallOptions call = small_call();
  call.max_sequence_length = 12;
  expect(refusal(text, call), "a prompt of 12 tokens: transformer takes 226 (max_text_seq_length)");
  call = small_call();
  call.image = Image::from_tensor(Tensor::full({32, 48, 3}, 0.25));
  expect(refusal(text, call), "a CogVideoXPipeline does not take image");
  expect(refusal(image, small_call()), "a CogVideoXImageToVideoPipeline begins with a picture: give it as image");
  call = small_call(9, 48);
  call.image = Image::from_tensor(Tensor::full({32, 48, 3}, 0.25));
  expect(refusal(image, call), "has learned positions for 4 x 6 alone");
  expect(refusal(next, small_call(9, 96)), "knows positions up to 8 x 8");
}

TEST(CogVideoX, SaysWhatIsWrongWithAVideoToBeginWith) {
  const TempFolder a, b;
  const PretrainedOptions options{.pipeline_class = "CogVideoXVideoToVideoPipeline"};
  const DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_video_model("2b", a), options),
                          next = DiffusionPipeline::from_pretrained(random_video_model("1.5", b), options);
  const auto video = [](int64_t frames) { return Video::from_tensor(Tensor::full({frames, 20, 28, 3}, 0.5)); };
  CallOptions good = small_call();
  good.num_frames.reset();
  good.video = {video(9)};
  const auto refusal = [&](const DiffusionPipeline& of, const auto& change) {
    CallOptions call = good;
    change(call);
    return message_of<UsageError>([&] { of("a panda", call); });
  };
  EXPECT_EQ(pipe("a panda", good).latents.dim(1), 3);
  EXPECT_EQ(refusal(pipe, [](CallOptions& o) { o.video.clear(); }), "a CogVideoXVideoToVideoPipeline begins with a video: give it as video");
  EXPECT_EQ(refusal(pipe, [](CallOptions& o) { o.num_frames = 9; }),
            "a CogVideoXVideoToVideoPipeline does not take num_frames: it makes as many as the video has");
  EXPECT_EQ(refusal(pipe, [&](CallOptions& o) { o.video.push_back(video(9)); }),
            "video has 2 entries for 1 videos: expected a number that divides it");
  EXPECT_EQ(refusal(pipe,
                    [&](CallOptions& o) {
                      o.num_images_per_prompt = 2;
                      o.video.push_back(video(5));
                    }),
            "video has entries of 9 and 5 frames: expected videos of one length");
  EXPECT_EQ(refusal(pipe, [](CallOptions& o) { o.video = {Video()}; }), "video has an entry that is none");
  EXPECT_EQ(refusal(pipe, [](CallOptions& o) { o.latents = Tensor::zeros({1, 3, 4, 4, 6}); }), "video and latents are both given: choose one");
  EXPECT_EQ(refusal(pipe, [](CallOptions& o) { o.strength = 1.5; }), "strength is 1.5: expected 0 to 1");
  EXPECT_EQ(refusal(pipe, [](CallOptions& o) { o.strength = 0.3; }), "a strength of 0.3 leaves none of 2 steps: expected more of one or the other");
  DiffusionPipeline tiled = DiffusionPipeline::from_pretrained(a.path() / "model", options);
  tiled.enable_vae_tiling();
  EXPECT_EQ(refusal(tiled, [](CallOptions& o) { o.height = 48; }),
            "tiles of a picture of 48 x 48 pixels (height, width) make latents of 7 x 7, and not of 6 x 6: choose another size, or no tiling");
  EXPECT_EQ(refusal(next, [](CallOptions&) {}), "a video of 9 frames makes 3 latent frames: transformer reads multiples of 2 from a video");
}

// A video in and one out: the VAE encodes beside T5, both make room for the transformer, and that for the VAE.
TEST(CogVideoX, OffloadHoldsWhatAStageTakes) {
  const TempFolder folder;
  const fs::path model = random_video_model("2b", folder);
  const auto open = [&](Offload offload) {
    return DiffusionPipeline::from_pretrained(model, {.offload = offload, .pipeline_class = "CogVideoXVideoToVideoPipeline"});
  };
  CallOptions call = small_call();
  call.num_frames.reset();
  call.output_latent = false;
  call.video = {Video::from_tensor(Tensor::full({17, 20, 28, 3}, 0.5))};
  const PipelineOutput wanted = open(Offload::none)("a panda", call);
  DiffusionPipeline pipe = open(Offload::model);
  size_t most = 0;
  const auto held = [&] {
    std::string parts;
    size_t bytes = 0;
    for (const std::string& part : pipe.models()) {
      const size_t own = pipe.model(part).component().held_bytes();
      if (own > 0) parts += part + ' ';
      bytes += own;
    }
    most = std::max(most, bytes);
    return parts;
  };
  call.callback_on_step_end = [&](const DiffusionPipeline&, int, float, StepState&) { EXPECT_EQ(held(), "transformer "); };
  int told = 0;
  call.callback_on_frames = [&](const DecodedFrames&) {
    EXPECT_EQ(held(), "vae ");
    ++told;
  };
  for (int turn = 0; turn < 2; ++turn) {
    const PipelineOutput out = pipe("a panda", call);
    EXPECT_EQ(difference(out.latents, wanted.latents), 0);
    EXPECT_EQ(difference(out.frames.at(0).tensor(), wanted.frames.at(0).tensor()), 0);
    EXPECT_EQ(out.counters.parts_given_back, 4);
    EXPECT_EQ(held(), "");
  }
  EXPECT_EQ(told, 2 * 2) << "batches of frames";
  // As planned before the call.
  Request request;
  const Recipe& recipe = *pipe.loaded().recipe;
  Call planned = recipe.resolve("a panda", call);
  planned.timesteps = 2;  // of the schedule, which the call makes
  EXPECT_LE(most, static_cast<size_t>(plan_memory(recipe, pipe.loaded().parts, planned, request).peak(true)));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

int64_t process_bytes(const std::string& what) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(what + ":")) return std::stoll(line.substr(what.size() + 1)) * 1024;
  return 0;
}

constexpr int64_t kProcess = 16'000'000;  // threads' stacks, code, plans, what the allocator keeps

// What the process takes for a call, as the kernel counts it: two batches of frames, what the first leaves to the second, and the video.
TEST(CogVideoX, AProcessTakesNoMoreThanIsPlanned) {
  const TempFolder folder;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_video_model("2b", folder), {.offload = Offload::model});
  CallOptions call = small_call(17, 320, 480);
  call.num_inference_steps = 1;
  call.guidance_scale = 1;
  call.output_latent = false;
  Request request;
  const Recipe& recipe = *pipe.loaded().recipe;
  Call planned = recipe.resolve("a panda", call);
  planned.timesteps = 1;
  const int64_t peak = plan_memory(recipe, pipe.loaded().parts, planned, request).peak(true);
  const int64_t before = process_bytes("VmRSS");
  if (!(std::ofstream("/proc/self/clear_refs") << "5").flush()) GTEST_SKIP() << "the kernel does not forget the peak so far";
  const PipelineOutput out = pipe("a panda", call);
  const int64_t taken = process_bytes("VmHWM") - before;
  EXPECT_GT(peak, 10 * kProcess) << "or nothing is shown";
  EXPECT_LE(taken, peak + kProcess);
  EXPECT_GE(taken, peak / 2);
}

// In small tiles, of which more than a hundred make the video: what they share with one another is little, and none is kept.
TEST(CogVideoX, TilesTakeNoMoreThanIsPlanned) {
  const TempFolder folder;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_video_model("2b", folder));
  dynamic_cast<AutoencoderKLCogVideoX&>(pipe.vae()).enable_tiling(48, 40);
  Request request;
  const Recipe& recipe = *pipe.loaded().recipe;
  CallOptions options = small_call(17, 240, 320);
  options.output_latent = false;
  const Call call = recipe.resolve("a panda", options);
  const int64_t peak = plan_memory(recipe, pipe.loaded().parts, call, request).peak(Stage::decode);
  const LatentFormat format = pipe.loaded().parts.component<AutoencoderComponent>("vae").latents();
  const Tensor latents = Generator(7).randn({1, 5, format.channels, 240 / format.scale, 320 / format.scale});
  const int64_t before = process_bytes("VmRSS");
  if (!(std::ofstream("/proc/self/clear_refs") << "5").flush()) GTEST_SKIP() << "the kernel does not forget the peak so far";
  const Pictures made = recipe.decode(call, latents, request);
  const int64_t taken = process_bytes("VmHWM") - before;
  EXPECT_EQ(made.frames.at(0).frames(), 17);
  EXPECT_GT(peak, 4 * kProcess) << "or nothing is shown";
  EXPECT_LE(taken, peak + kProcess);
}

#endif

}  // namespace
}  // namespace vivace
