// What a call may be given, by class.
#include "families/common/arguments.h"

#include <gtest/gtest.h>

#include "families/common/clip_prompt.h"
#include "temp_folder.h"
#include "vivace/error.h"
#include "vivace/log.h"
#include "vivace/vivace.h"

namespace vivace {
namespace {

DiffusionPipeline& emoji() {
  static DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(VIVACE_SOURCE_DIR "/assets/emoji-xl");
  return pipe;
}

TEST(Arguments, WhatAFamilyDoesNotTakeIsNamed) {
  constexpr std::string_view kTaken[] = {"guidance_scale", "clip_skip"};
  EXPECT_NO_THROW(check_taken({.height = 64, .num_inference_steps = 3, .guidance_scale = 2.0, .seed = 1, .clip_skip = 1}, "SomePipeline", kTaken));
  const std::string message =
      message_of<UsageError>([&] { check_taken({.prompt_2 = "x", .sigmas = {1}, .guidance_rescale = 0.5}, "SomePipeline", kTaken); });
  for (const char* word : {"SomePipeline", "prompt_2", "sigmas", "guidance_rescale"}) EXPECT_NE(message.find(word), std::string::npos) << message;
  EXPECT_EQ(message.find("clip_skip"), std::string::npos);
}

TEST(Arguments, WhatChangesNothingIsTold) {
  const auto told = [](const CallOptions& options) {
    CallOptions o = options;
    o.height = o.width = 32;
    o.output_latent = true;
    if (o.timesteps.empty()) o.num_inference_steps = 1;
    std::vector<std::string> warnings;
    set_log_sink([&](LogLevel, const std::string& text) { warnings.push_back(text); });
    emoji()("a red apple", o);
    set_log_sink(nullptr);
    std::string all;
    for (const std::string& text : warnings) all += text.substr(0, text.find(" changes nothing")) + ';';
    return all;
  };
  EXPECT_EQ(told({}), "");
  EXPECT_EQ(told({.negative_prompt = "blue", .guidance_scale = 5, .guidance_rescale = 0.5}), "");
  EXPECT_EQ(told({.negative_prompt = "blue", .negative_prompt_2 = "red", .guidance_scale = 1, .guidance_rescale = 0.5}),
            "negative_prompt;negative_prompt_2;guidance_rescale;");
  EXPECT_EQ(told({.negative_prompt = "", .guidance_scale = 1}), "") << "what there is without it";
  EXPECT_EQ(told({.negative_prompt_2 = "red"}), "negative_prompt_2;");
  EXPECT_EQ(told({.negative_target_size = Size{8, 8}}), "negative_target_size;");
  EXPECT_EQ(told({.negative_original_size = Size{8, 8}, .negative_target_size = Size{8, 8}}), "");
  EXPECT_EQ(told({.num_inference_steps = 3, .timesteps = {900, 1}}), "num_inference_steps;");
  Call call{.options = {.denoising_start = 0.5}};
  call.options.strength = 0.5;
  call.options.true_cfg_scale = 2;
  call.options.auto_resize = false;
  EXPECT_EQ(unused_arguments(call), (std::vector<std::string>{"true_cfg_scale changes nothing: there is no negative_prompt",
                                                              "strength changes nothing: denoising_start says where the call begins",
                                                              "auto_resize changes nothing: there is no image"}));
}

TEST(Arguments, UnequalTextEncodersAreRefused) {
  EXPECT_EQ(join_features(Tensor::zeros({2, 7, 3}), Tensor::zeros({2, 7, 5})).shape(), (Shape{2, 7, 8}));
  EXPECT_THROW(join_features(Tensor::zeros({1, 248, 3}), Tensor::zeros({1, 77, 5})), UsageError);
  EXPECT_THROW(join_features(Tensor::zeros({2, 77, 3}), Tensor::zeros({1, 77, 5})), UsageError);
}

TEST(Arguments, PromptsOrTheirEmbeddings) {
  const CallOptions two_steps{.height = 32, .width = 32, .num_inference_steps = 2, .seed = 5, .output_latent = true};
  const auto refused = [&](const Prompts& prompt, auto change) {
    CallOptions o = two_steps;
    change(o);
    EXPECT_THROW(emoji()(prompt, o), UsageError);
  };
  const Tensor embeds = Tensor::zeros({1, 77, 320}), pooled = Tensor::zeros({1, 192});
  refused({}, [](CallOptions&) {});
  refused("a", [&](CallOptions& o) { o.prompt_embeds = embeds, o.pooled_prompt_embeds = pooled; });
  refused({}, [&](CallOptions& o) { o.prompt_embeds = embeds; });
  refused({}, [&](CallOptions& o) { o.prompt_embeds = Tensor::zeros({1, 77, 5}), o.pooled_prompt_embeds = pooled; });
  refused("a", [&](CallOptions& o) { o.negative_prompt_embeds = embeds, o.negative_pooled_prompt_embeds = pooled, o.negative_prompt = "b"; });
  Generator generator(5);
  refused("a", [&](CallOptions& o) { o.generators = {&generator}; });
  refused("a", [&](CallOptions& o) { o.seed.reset(), o.generators = {&generator, nullptr}; });
}

// A generator goes on from where it is; a fresh one is its seed.
TEST(Arguments, GeneratorsAreUsedAsTheyAre) {
  CallOptions o{.height = 32, .width = 32, .num_inference_steps = 1, .seed = 5, .output_latent = true};
  const Tensor by_seed = emoji()("a red apple", o).latents;
  Generator generator(5);
  o.seed.reset();
  o.generators = {&generator};
  const PipelineOutput first = emoji()("a red apple", o), second = emoji()("a red apple", o);
  EXPECT_EQ(first.seeds, std::vector<uint64_t>{5});
  for (int64_t i = 0; i < by_seed.numel(); ++i) ASSERT_EQ(by_seed.floats()[i], first.latents.floats()[i]);
  EXPECT_NE(first.latents.floats()[0], second.latents.floats()[0]) << "it went on";
}

// What the text encoders give is what a call may be given instead of texts.
TEST(Arguments, EmbeddingsAreThePrompt) {
  DiffusionPipeline& pipe = emoji();
  CallOptions o{.height = 32, .width = 32, .num_inference_steps = 2, .num_images_per_prompt = 2, .seed = 5, .output_latent = true};
  o.negative_prompt = "blue";
  const Tensor want = pipe("a red apple", o).latents;
  const auto encode = [&](const char* text, Tensor& embeds, Tensor& pooled) {
    const CLIPTextModelOutput first = pipe.text_encoder()(pipe.tokenize(text, 1)), second = pipe.text_encoder_2()(pipe.tokenize(text, 2));
    embeds = join_features(first.hidden_state, second.hidden_state);
    pooled = first.text_embeds.defined() ? first.text_embeds : second.text_embeds;
  };
  o.negative_prompt.reset();
  encode("a red apple", o.prompt_embeds, o.pooled_prompt_embeds);
  encode("blue", o.negative_prompt_embeds, o.negative_pooled_prompt_embeds);
  const Tensor got = pipe({}, o).latents;
  for (int64_t i = 0; i < want.numel(); ++i) ASSERT_EQ(want.floats()[i], got.floats()[i]) << i;
}

}  // namespace
}  // namespace vivace
