// How the transformer families compile: dynamic shapes, regions, fused projections, joint sequences without copies, packages.
#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "base/files.h"
#include "base/log.h"
#include "difference.h"
#include "pipelines/loaded.h"
#include "random_model.h"
#include "vivace/vivace.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

const fs::path kFlux = fs::path(VIVACE_SOURCE_DIR) / "assets/emoji-flux";

CallOptions flux_call() {
  CallOptions call{.height = 64, .width = 96, .num_inference_steps = 2, .seed = 3};
  call.max_sequence_length = 24;
  return call;
}

CallOptions aura_call(int64_t height = 32, int64_t width = 24) {
  CallOptions call{.height = height, .width = width, .num_inference_steps = 2, .seed = 3};
  call.max_sequence_length = 16;
  return call;
}

// Sums in another order: a rounding of float32 for each of some thousand terms, a few times over in two steps with guidance.
const double kRounding = 20 * std::sqrt(1000.) * 0x1p-24;

// The transformer's plan for the call.
Plan plan_of(DiffusionPipeline& pipe, const CallOptions& call) {
  const Recipe& recipe = *pipe.loaded().recipe;
  Request request;
  for (const SessionNeed& need : recipe.sessions_for(recipe.resolve("a red apple", call)))
    if (need.stage == Stage::denoise) return pipe.transformer().component().plan(need.request, request);
  ADD_FAILURE() << "nothing denoises";
  return {};
}

int64_t steps_of(const Plan& plan, Op op) { return std::ranges::count(plan.step, op, &PlanStep::op); }

// Steps that copy sequences, or parts of them.
int64_t sequence_copies(const Plan& plan) {
  return std::ranges::count_if(
      plan.step, [](const PlanStep& step) { return (step.op == Op::concat || step.op == Op::slice) && step.attrs.integer("axis") == 1; });
}

TEST(AuraFlow, TwentySizesTakeOnePlan) {
  const TempFolder folder;
  const fs::path model = random_model("aura", folder);
  const CompileOptions dynamic{.mode = CompileMode::default_, .dynamic = true, .use_duck_shape = false};
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(model, {.compile = dynamic}), fixed = DiffusionPipeline::from_pretrained(model);
  int sizes = 0;
  for (int64_t height : {16, 24, 32, 44, 64})
    for (int64_t width : {16, 20, 36, 60}) {
      const PipelineOutput out = pipe("a red apple", aura_call(height, width));
      const CallCounters& counters = out.counters;
      if (sizes++ == 0) {
        EXPECT_EQ(counters.plans_compiled, 3) << "text encoder, transformer, decoder";
      } else {
        EXPECT_EQ(counters.plans_compiled, 0) << height << " x " << width;
        EXPECT_EQ(counters.guards_failed, 0) << height << " x " << width;
        EXPECT_GT(counters.plans_resized, 0) << height << " x " << width;
      }
      if (sizes % 7 == 0) {
        EXPECT_LT(difference(fixed("a red apple", aura_call(height, width)).latents, out.latents), kRounding);
      }
    }
  EXPECT_EQ(sizes, 20);
}

TEST(AuraFlow, ListsNoRepeatedBlocksAndHasThem) {
  const TempFolder folder;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_model("aura", folder));
  const Tensor eager = pipe("a red apple", aura_call()).latents;
  EXPECT_NE(message_of<UsageError>([&] { pipe.transformer().compile_repeated_blocks(); }).find("lists no repeated blocks"), std::string::npos);
  pipe.transformer().compile_regions({.mode = CompileMode::default_, .fullgraph = true});
  const Plan plan = plan_of(pipe, aura_call());
  const auto found = std::ranges::find(plan.regions, "single_transformer_blocks.0", &PlanRegion::scope);
  ASSERT_NE(found, plan.regions.end());
  EXPECT_EQ(found->occurrences, 2);
  EXPECT_LT(difference(eager, pipe("a red apple", aura_call()).latents), kRounding);
}

TEST(Flux, RepeatedBlocksAreItsTwoKinds) {
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(kFlux);
  const Tensor eager = pipe("a red apple", flux_call()).latents;
  pipe.transformer().compile_repeated_blocks({.mode = CompileMode::default_, .fullgraph = true});
  std::map<std::string, int> occurrences;
  for (const PlanRegion& region : plan_of(pipe, flux_call()).regions) occurrences[region.scope] = region.occurrences;
  EXPECT_EQ(occurrences, (std::map<std::string, int>{{"single_transformer_blocks.0", 5}, {"transformer_blocks.0", 2}}));
  EXPECT_LT(difference(eager, pipe("a red apple", flux_call()).latents), kRounding);
}

TEST(Flux, ABlockThatIsThereOnceIsARegionToo) {
  const TempFolder folder;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_model("dev", folder));
  pipe.transformer().compile_repeated_blocks({.mode = CompileMode::default_, .fullgraph = true});
  std::map<std::string, int> occurrences;
  for (const PlanRegion& region : plan_of(pipe, flux_call()).regions) occurrences[region.scope] = region.occurrences;
  EXPECT_EQ(occurrences, (std::map<std::string, int>{{"single_transformer_blocks.0", 2}, {"transformer_blocks.0", 1}}));
}

// to_qkv and to_added_qkv, without a compile mode too.
TEST(Flux, FusedProjectionsAreOneLinearASequence) {
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(kFlux);
  const Tensor apart = pipe("a red apple", flux_call()).latents;
  const int64_t before = steps_of(plan_of(pipe, flux_call()), Op::linear);
  pipe.fuse_qkv_projections();
  EXPECT_EQ(steps_of(plan_of(pipe, flux_call()), Op::linear), before - 2 * 4 - 5 * 2);
  EXPECT_LT(difference(apart, pipe("a red apple", flux_call()).latents), kRounding);
  pipe.unfuse_qkv_projections();
  EXPECT_EQ(steps_of(plan_of(pipe, flux_call()), Op::linear), before);
}

TEST(AuraFlow, FusedProjectionsAreOneLinearASequence) {
  const TempFolder folder;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_model("aura", folder));
  const Tensor apart = pipe("a red apple", aura_call()).latents;
  const int64_t before = steps_of(plan_of(pipe, aura_call()), Op::linear);
  pipe.fuse_qkv_projections();
  EXPECT_EQ(steps_of(plan_of(pipe, aura_call()), Op::linear), before - 2 * (1 * 4 + 2 * 2)) << "of both halves of guidance";
  EXPECT_LT(difference(apart, pipe("a red apple", aura_call()).latents), kRounding);
}

// Text and image lie in one buffer, and what reads a part of it reads it there: with several images and in plans of any size too.
TEST(Flux, JointSequencesAreNotCopied) {
  for (const bool dynamic : {false, true})
    for (const bool fuse : {true, false})
      for (const int images : {1, 2}) {
        SCOPED_TRACE(cat("dynamic ", dynamic, ", fused ", fuse, ", images ", images));
        DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(kFlux);
        CompileOptions options{.mode = CompileMode::default_, .fullgraph = true, .dynamic = dynamic};
        if (!fuse) options.disable_passes = {"fuse_projections"};
        pipe.transformer().compile(options);
        CallOptions call = flux_call();
        call.num_images_per_prompt = images;
        const Plan plan = plan_of(pipe, call);
        EXPECT_EQ(sequence_copies(plan), 0);
        EXPECT_EQ(steps_of(plan, Op::slice), images == 1 ? 0 : images) << "an image's latents";
      }
}

// The picture that is edited is embedded once, and copied to where the latents' embedding is, which blocks write over: once a step.
TEST(FluxKontext, JointSequencesAreNotCopied) {
  const TempFolder folder;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_model("kontext", folder));
  for (const int images : {1, 2}) {
    CallOptions call{.height = 32, .width = 32, .num_inference_steps = 2, .num_images_per_prompt = images, .seed = 3};
    call.max_sequence_length = 16;
    call.max_area = 1024;
    call.auto_resize = false;
    call.image = Image::from_pixels(32, 48, std::vector<uint8_t>(32 * 48 * 3, 128));
    for (const bool dynamic : {false, true}) {
      pipe.transformer().compile({.mode = CompileMode::default_, .fullgraph = true, .dynamic = dynamic});
      EXPECT_EQ(sequence_copies(plan_of(pipe, call)), images);
    }
  }
}

// One plan serves all sizes and lengths of prompts, another one another number of images.
TEST(Flux, AGuidanceThatTheModelIsNotToldOf) {
  const TempFolder folder;
  std::vector<std::string> warnings;
  DiffusionPipeline schnell = DiffusionPipeline::from_pretrained(random_model("schnell", folder));
  set_log_sink([&](LogLevel, const std::string& text) { warnings.push_back(text); });
  CallOptions call{.height = 32, .width = 32, .num_inference_steps = 1, .guidance_scale = 4, .output_latent = true};
  call.max_sequence_length = 8;
  for (const double guidance : {0., 4.}) call.guidance_scale = guidance, schnell("a red apple", call);
  set_log_sink(nullptr);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].find("guidance_scale changes nothing"), 0u) << warnings[0];
}

// Height and width alone would say its shape.
TEST(FluxKontext, MakesTheSizeThatIsSaid) {
  const TempFolder folder;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_model("kontext", folder));
  CallOptions call;
  pipe.loaded().recipe->set_size(call, {48, 80});
  const Call resolved = pipe.loaded().recipe->resolve("a red apple", call);
  EXPECT_EQ(std::pair(resolved.height, resolved.width), std::pair(int64_t{48}, int64_t{80}));
}

TEST(Flux, SizesAndPromptLengthsTakeOnePlan) {
  const CompileOptions dynamic{.mode = CompileMode::default_, .dynamic = true, .use_duck_shape = false};
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(kFlux, {.compile = dynamic}), fixed = DiffusionPipeline::from_pretrained(kFlux);
  for (const int images : {1, 2}) {
    int calls = 0;
    for (const auto& [height, width, length] : {std::tuple(64, 96, 24), {96, 64, 24}, {48, 48, 9}, {32, 128, 40}}) {
      CallOptions call{.height = height, .width = width, .num_inference_steps = 2, .num_images_per_prompt = images, .seed = 3};
      call.max_sequence_length = length;
      const PipelineOutput out = pipe("a red apple", call);
      EXPECT_EQ(out.counters.plans_compiled, calls++ > 0 ? 0 : images == 1 ? 4 : 1) << "text encoders, transformer, decoder";
      EXPECT_EQ(out.counters.guards_failed, 0);
      EXPECT_LT(difference(fixed("a red apple", call).latents, out.latents), kRounding);
    }
  }
}

// Q and K are normed and rotated in one trip; attention and the feed-forward of single blocks write into one buffer, which proj_out reads.
TEST(Flux, NothingStandsBetweenTheProductsButNormsAndAttention) {
  for (const DType dtype : {DType::float32, DType::bfloat16})
    for (const bool int8 : {false, true})
      for (const int images : {1, 3}) {
        SCOPED_TRACE(cat(dtype_name(dtype), int8 ? " int8, images " : ", images ", images));
        DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(kFlux, {.dtype = dtype});
        if (int8) apply_dynamic_quant(pipe.transformer(), quantize_all);
        pipe.transformer().compile({.mode = CompileMode::default_, .fullgraph = true});
        CallOptions call = flux_call();
        call.num_images_per_prompt = images;
        const Plan plan = plan_of(pipe, call);
        EXPECT_EQ(steps_of(plan, Op::rotary), 0);
        EXPECT_EQ(steps_of(plan, Op::rms_norm), images * (2 * 4 + 5 * 2));
        EXPECT_EQ(steps_of(plan, Op::concat), 0);
        EXPECT_EQ(steps_of(plan, Op::slice), images == 1 ? 0 : images) << "an image's latents";
        // x_embedder, four for each stream of a double block, three a single block, proj_out.
        EXPECT_EQ(steps_of(plan, Op::linear), images * (1 + 2 * 8 + 5 * 3 + 1)) << "modulations are a table of setup's";
        // A table each of timestep_embedder, of norm1 and norm1_context, of norm, and of norm_out; and the prompt's embedding.
        EXPECT_EQ(std::ranges::count(plan.setup, "context_embedder", &PlanStep::scope), 1);
        EXPECT_EQ(std::ranges::count_if(plan.setup,
                                        [](const PlanStep& step) { return step.op == Op::linear && step.scope.find("norm") != std::string::npos; }),
                  2 * 2 + 5 + 1)
            << "modulations of all images at once";
      }
}

TEST(AuraFlow, JointSequencesAreNotCopied) {
  const TempFolder folder;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_model("aura", folder));
  for (const bool dynamic : {false, true})
    for (const double guidance : {1., 3.5}) {
      pipe.transformer().compile({.mode = CompileMode::default_, .fullgraph = true, .dynamic = dynamic});
      CallOptions call = aura_call();
      call.max_sequence_length = 64;  // of 16 tokens copies would take less memory
      call.guidance_scale = guidance;
      const Plan plan = plan_of(pipe, call);
      EXPECT_EQ(sequence_copies(plan), 0);
      EXPECT_EQ(steps_of(plan, Op::slice), 0);
    }
}

TEST(AuraFlow, APackageServesItsCalls) {
  const TempFolder folder;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_model("aura", folder), {.compile = {.mode = CompileMode::default_}});
  const fs::path path = folder.path() / "aura.vivace";
  export_package(pipe, path, {.sizes = {{32, 24}}});
  const DiffusionPipeline packaged = DiffusionPipeline::from_pretrained(path);
  CallOptions call = aura_call();
  call.max_sequence_length.reset();  // a package is made for the class's own
  const PipelineOutput out = packaged("a red apple", call);
  EXPECT_EQ(out.counters.plans_compiled, 0);
  EXPECT_EQ(difference(pipe("a red apple", call).latents, out.latents), 0);
}

// With a picture to edit, and with none.
TEST(FluxKontext, APackageServesBothWays) {
  const TempFolder folder;
  fs::copy(kFlux, folder / "kontext", fs::copy_options::recursive);
  std::string index = read_file(kFlux / "model_index.json");
  index.replace(index.find("FluxPipeline"), 12, "FluxKontextPipeline");
  write_file(folder / "kontext/model_index.json", index);
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(folder / "kontext", {.compile = {.mode = CompileMode::default_}});
  export_package(pipe, folder / "kontext.vivace", {.sizes = {{64, 64}}});
  const std::string package = read_file(folder / "kontext.vivace/package.json");
  EXPECT_NE(package.find("\"conditioned, float32, batch 1, condition_tokens 4096, image_tokens 4096"), std::string::npos) << package;
  EXPECT_NE(package.find("\", float32, batch 1, image_tokens 4096"), std::string::npos) << package;
  EXPECT_NE(package.find("\"encode, float32, batch 1, height 1024, width 1024"), std::string::npos) << package;
  // Height and width are those of a call: the shape.
  const fs::path small = folder / "small.vivace";
  export_package(pipe, small, {.sizes = {{64, 64}}, .max_area = 64 * 64});
  CallOptions call{.height = 64, .width = 64, .num_inference_steps = 1, .seed = 1};
  call.max_area = 64 * 64;
  const PipelineOutput out = DiffusionPipeline::from_pretrained(small)("a red apple", call);
  EXPECT_EQ(out.counters.plans_compiled, 0);
  EXPECT_EQ(std::pair(out.images.at(0).height(), out.images[0].width()), std::pair(64, 64));
}

TEST(AuraFlow, RefusesEmbeddingsThatDoNotFit) {
  const TempFolder folder;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(random_model("aura", folder));
  CallOptions call = aura_call();
  call.negative_prompt_embeds = Tensor::zeros({1, 7, 32});
  EXPECT_NE(message_of<UsageError>([&] { pipe("a red apple", call); }).find("negative_prompt_embeds has 7 tokens and the prompt 16"),
            std::string::npos);
}

}  // namespace
}  // namespace vivace
