// What a call takes of memory: as planned before anything is loaded, against what is held; what is given back where there is less.
#include <gtest/gtest.h>

#include <cstring>

#include "../temp_folder.h"
#include "pipelines/memory_plan.h"
#include "runtime/request.h"
#include "startup.h"
#include "vivace/vivace.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

const fs::path kFlux = fs::path(VIVACE_SOURCE_DIR) / "assets/emoji-flux";

CallOptions small_call() {
  CallOptions call{.height = 64, .width = 128, .num_inference_steps = 2, .seed = 7};
  call.max_sequence_length = 32;
  return call;
}

DiffusionPipeline open(PretrainedOptions options = {}) { return DiffusionPipeline::from_pretrained(kFlux, options); }

MemoryPlan plan_of(DiffusionPipeline& pipe) {
  const Recipe& recipe = *pipe.loaded().recipe;
  Request request;
  Call call = recipe.resolve("a red apple", small_call());
  call.timesteps = call.rows = 2;  // of the schedule, which the call makes
  return plan_memory(recipe, pipe.loaded().parts, call, request);
}

size_t held_by(DiffusionPipeline& pipe, const std::string& part) { return pipe.model(part).component().held_bytes(); }

size_t held(DiffusionPipeline& pipe) {
  size_t bytes = 0;
  for (const std::string& part : pipe.models()) bytes += held_by(pipe, part);
  return bytes;
}

TEST(MemoryPlan, IsWhatIsHeld) {
  DiffusionPipeline pipe = open({.compile = {.mode = CompileMode::default_}});
  const MemoryPlan plan = plan_of(pipe);
  ASSERT_EQ(plan.rows.size(), 4u);
  EXPECT_GE(plan.rows.back().need.beside, 3 * 64 * 128 * 3 * 4) << "a picture, and what is on its way to be one";
  EXPECT_EQ(held(pipe), 0u) << "planning loads nothing";
  pipe("a red apple", small_call());
  for (const MemoryPlan::Row& row : plan.rows) {
    const Component& component = pipe.model(row.part).component();
    EXPECT_EQ(static_cast<int64_t>(component.arena_bytes()), row.need.activations) << row.part;
    // Equal tensors are kept once. What is read as it is stored lies in the checkpoint: of text encoders the embeddings.
    const auto weights = static_cast<double>(component.constant_bytes()), planned = static_cast<double>(row.need.weights);
    EXPECT_LE(weights, planned) << row.part;
    EXPECT_GE(weights, (row.stage == Stage::encode ? 0.7 : 0.98) * planned) << row.part;
    EXPECT_GT(row.need.preparing, 0) << row.part;
    EXPECT_LT(row.need.preparing, row.need.weights) << row.part << ": a layer at a time";
  }
}

// The system counts the pages of mapped files as free.
TEST(MemoryPlan, WhatIsMappedIsNotCountedTwice) {
  const TempFolder folder;
  constexpr int64_t kFree = 1'000'000'000;
  for (const bool from_cache : {false, true}) {
    DiffusionPipeline pipe = open({.cache = {.folder = folder.path(), .max_bytes = 1'000'000'000}});
    pipe("a red apple", small_call());
    size_t weights = 0, activations = 0;
    for (const std::string& part : pipe.models()) {
      weights += pipe.model(part).component().constant_bytes();
      activations += pipe.model(part).component().arena_bytes();
    }
    EXPECT_GT(weights, 0u);
    EXPECT_EQ(memory_limit(pipe.loaded().parts, kFree), kFree + static_cast<int64_t>(activations + (from_cache ? 0 : weights)));
  }
}

TEST(MemoryPlan, SumsUp) {
  const MemoryPlan plan{.rows = {{"text", "", Stage::encode, {.weights = 100, .activations = 10, .preparing = 30}},
                                 {"text_2", "", Stage::encode, {.weights = 200, .activations = 20, .preparing = 5}},
                                 {"unet", "", Stage::denoise, {.weights = 300, .activations = 40, .preparing = 70}},
                                 {"vae", "decode", Stage::decode, {.weights = 50, .activations = 500, .preparing = 0, .beside = 60}}}};
  EXPECT_EQ(plan.peak(Stage::encode), 110 + 200 + 20);
  EXPECT_EQ(plan.peak(Stage::denoise), 300 + 70);
  EXPECT_EQ(plan.peak(true), 610);
  EXPECT_EQ(plan.peak(false), 110 + 220 + 340 + 610);
  EXPECT_EQ(memory_text(plan), "encoding 330 B, denoising 370 B, decoding 610 B; at most 610 B at a time, or 1.28 kB with everything kept");
}

TEST(Offload, WithRoomForAllNothingIsGivenBack) {
  DiffusionPipeline pipe = open();
  const MemoryPlan plan = plan_of(pipe);
  pipe.loaded().max_memory = static_cast<size_t>(plan.peak(false) + plan.peak(Stage::encode));
  for (int call = 0; call < 2; ++call) EXPECT_EQ(pipe("a red apple", small_call()).counters.parts_given_back, 0);
}

TEST(Offload, TextEncodersMakeRoomForTheTransformer) {
  DiffusionPipeline everything = open({.offload = Offload::none}), pipe = open();
  const Tensor expected = everything("a red apple", small_call()).latents;
  pipe.loaded().max_memory = static_cast<size_t>(plan_of(pipe).peak(true));
  CallOptions call = small_call();
  size_t text_encoder = 1, text_encoder_2 = 1, transformer = 0;
  call.callback_on_step_end = [&](const DiffusionPipeline&, int, float, StepState&) {
    text_encoder = held_by(pipe, "text_encoder");
    text_encoder_2 = held_by(pipe, "text_encoder_2");
    transformer = held_by(pipe, "transformer");
  };
  for (int turn = 0; turn < 2; ++turn) {
    const PipelineOutput out = pipe("a red apple", call);
    expect_equal(out.latents, expected);
    EXPECT_EQ(text_encoder, 0u);
    EXPECT_EQ(text_encoder_2, 0u);
    EXPECT_GT(transformer, 0u);
    EXPECT_GE(out.counters.parts_given_back, 2);
    EXPECT_LE(held(pipe), pipe.loaded().max_memory);
  }
}

TEST(Offload, EnableModelCpuOffloadKeepsNothing) {
  const TempFolder folder;
  DiffusionPipeline pipe = open({.cache = {.folder = folder.path(), .max_bytes = 1'000'000'000}});
  pipe.enable_model_cpu_offload();
  const Tensor first = pipe("a red apple", small_call()).latents;
  EXPECT_EQ(held(pipe), 0u);
  const int64_t prepared = process_counters().constants_prepared;
  expect_equal(pipe("a red apple", small_call()).latents, first);
  EXPECT_EQ(process_counters().constants_prepared, prepared) << "the cache holds what was given back";
}

TEST(Offload, APackageFindsItsWeightsAgain) {
  const TempFolder folder;
  DiffusionPipeline pipe = open();
  const fs::path path = folder.path() / "flux.vivace";
  // A package is made for the model's own number of tokens.
  CallOptions call{.height = 64, .width = 64, .num_inference_steps = 1, .seed = 7};
  export_package(pipe, path, {.sizes = {{64, 64}}});
  DiffusionPipeline packaged = DiffusionPipeline::from_pretrained(path, {.offload = Offload::model});
  const Tensor expected = pipe("a red apple", call).latents;
  for (int turn = 0; turn < 2; ++turn) expect_equal(packaged("a red apple", call).latents, expected);
  EXPECT_EQ(held(packaged), 0u);
}

std::string refusal(DiffusionPipeline& pipe) {
  return message_of<UserError>([&] { pipe("a red apple", small_call()); });
}

TEST(Offload, WhatDoesNotFitIsRefusedBeforeAnythingIsLoaded) {
  DiffusionPipeline pipe = open();
  const int64_t peak = plan_of(pipe).peak(true), prepared = process_counters().constants_prepared;
  pipe.loaded().max_memory = static_cast<size_t>(peak) - 1;
  const std::string message = refusal(pipe);
  EXPECT_NE(message.find("this call takes "), std::string::npos) << message;
  EXPECT_NE(message.find("(transformer: "), std::string::npos) << message;
  EXPECT_NE(message.find(": --dtype bf16 would take "), std::string::npos) << message;
  EXPECT_EQ(held(pipe), 0u);
  EXPECT_EQ(process_counters().constants_prepared, prepared);

  // As it says.
  DiffusionPipeline narrow = open({.dtype = bfloat16, .max_memory = static_cast<size_t>(peak) - 1});
  EXPECT_EQ(narrow("a red apple", small_call()).images.size(), 1u);
  narrow.loaded().max_memory = static_cast<size_t>(plan_of(narrow).peak(Stage::denoise)) - 1;
  EXPECT_NE(refusal(narrow).find(": --quantize int8-dynamic would take "), std::string::npos) << refusal(narrow);
  narrow.loaded().max_memory = 100'000;
  EXPECT_NE(refusal(narrow).find("a machine with more memory is needed: the weights of the transformer alone take "), std::string::npos)
      << refusal(narrow);
}

TEST(Offload, AVaeWithoutRoomForAPictureWorksInTiles) {
  CallOptions call{.height = 512, .width = 512, .num_inference_steps = 1, .seed = 7};
  call.max_sequence_length = 32;
  DiffusionPipeline tiled = open(), pipe = open();
  const Recipe& recipe = *pipe.loaded().recipe;
  Request request;
  const MemoryPlan whole = plan_memory(recipe, pipe.loaded().parts, recipe.resolve("a red apple", call), request);
  ASSERT_GT(whole.peak(Stage::decode), 2 * whole.peak(Stage::denoise));
  tiled.enable_vae_tiling();
  const auto pixels = [](const PipelineOutput& out) {
    const Tensor picture = out.images.at(0).tensor();
    return std::vector<float>(picture.floats().begin(), picture.floats().end());
  };
  const std::vector<float> expected = pixels(tiled("a red apple", call));
  EXPECT_NE(pixels(pipe("a red apple", call)), expected) << "with room it takes the picture as it is";
  pipe.loaded().max_memory = static_cast<size_t>(whole.peak(Stage::decode)) - 1;
  EXPECT_EQ(pixels(pipe("a red apple", call)), expected);
}

TEST(Offload, NoneIsToldOfAuto) {
  DiffusionPipeline pipe = open({.offload = Offload::none});
  pipe.loaded().max_memory = static_cast<size_t>(plan_of(pipe).peak(true));
  EXPECT_NE(refusal(pipe).find(": --offload auto would take "), std::string::npos);
}

}  // namespace
}  // namespace vivace
