// The second start: plans and prepared weights from the cache, equal pictures, and damage that is noticed.
#include <algorithm>

#include "base/cache_folder.h"
#include "base/file_map.h"
#include "base/log.h"
#include "components/models.h"
#include "startup.h"

namespace vivace {
namespace {

TEST(Cache, TheSecondStartCompilesAndPacksNothing) {
  for (DType dtype : {DType::float32, DType::float16})
    for (CompileMode mode : {CompileMode::off, CompileMode::default_, CompileMode::max_autotune}) {
      const TempFolder folder;
      const Started without = start(kModel, {.dtype = dtype, .compile = {.mode = mode, .autotune_seconds = 0}, .cache = {.enabled = false}});
      const Started first = start(kModel, cached(folder, mode, dtype)), second = start(kModel, cached(folder, mode, dtype));
      EXPECT_EQ(first.counters.plans_compiled, kPlans);
      EXPECT_EQ(first.counters.plans_loaded, 0);
      EXPECT_GT(first.counters.constants_prepared, 0);
      EXPECT_EQ(second.counters.plans_compiled, 0);
      EXPECT_EQ(second.counters.plans_loaded, kPlans);
      EXPECT_EQ(second.counters.constants_prepared, 0);
      expect_equal(first.latents, without.latents);
      expect_equal(second.latents, without.latents);
    }
}

TEST(Cache, TheSecondStartTimesNoKernel) {
  const TempFolder folder;
  PretrainedOptions options = cached(folder, CompileMode::max_autotune);
  options.compile.autotune_seconds = 0.5;
  const Started first = start(kModel, options), second = start(kModel, options);
  EXPECT_GT(first.counters.settings_timed, 0);
  EXPECT_EQ(second.counters.settings_timed, 0);
  expect_equal(second.latents, first.latents);
  // Another plan takes what was found for calls that it shares, and times the others alone.
  options.compile.disable_passes = {"fuse_elementwise"};
  options.compile.autotune_seconds = 0;
  const Started other = start(kModel, options);
  EXPECT_GT(other.counters.plans_compiled, 0);
  EXPECT_EQ(other.counters.settings_timed, 0);
}

TEST(Cache, ANewSizeReusesTheWeights) {
  const TempFolder folder;
  start(kModel, cached(folder));
  const CallOptions wide{.height = 64, .width = 96, .num_inference_steps = 1, .seed = 7};
  const Started other = start(kModel, cached(folder), wide);
  EXPECT_EQ(other.counters.plans_compiled, 2) << "UNet and VAE; the text encoders are as before";
  EXPECT_EQ(start(kModel, cached(folder), wide).counters.constants_prepared, 0);
}

TEST(Cache, ASecondQuantisedStartQuantisesNothing) {
  const std::vector<std::function<void(DiffusionPipeline&)>> quantisations{
      [](DiffusionPipeline& pipe) { apply_dynamic_quant(pipe.unet(), quantize_all); },
      [](DiffusionPipeline& pipe) { quantize_weight_only(pipe.unet(), DType::float8_e4m3); },
      [](DiffusionPipeline& pipe) { apply_dynamic_quant(pipe.unet(), Quantization::float8_dynamic); },
  };
  for (const auto& quantize : quantisations) {
    const TempFolder folder;
    const CallOptions call{.num_inference_steps = 1, .seed = 7};
    const Started without = start(kModel, {.compile = {.mode = CompileMode::default_}, .cache = {.enabled = false}}, call, quantize);
    start(kModel, cached(folder));
    const Started first = start(kModel, cached(folder), call, quantize), second = start(kModel, cached(folder), call, quantize);
    EXPECT_EQ(first.counters.plans_compiled, 1) << "the UNet";
    EXPECT_GT(first.counters.constants_prepared, 0);
    EXPECT_EQ(second.counters.plans_compiled, 0);
    EXPECT_EQ(second.counters.constants_prepared, 0);
    expect_equal(first.latents, without.latents);
    expect_equal(second.latents, without.latents);
  }
}

TEST(Cache, WhatWasMeasuredIsNotMeasuredAgain) {
  const TempFolder folder;
  std::vector<std::string> chosen;
  const auto quantize = [&](DiffusionPipeline& pipe) { chosen = apply_dynamic_quant(pipe.unet()); };
  const CallOptions call{.num_inference_steps = 1, .seed = 7};
  start(kModel, cached(folder), call, quantize);
  const std::vector<std::string> measured = chosen;
  const Started second = start(kModel, cached(folder), call, quantize);
  EXPECT_EQ(chosen, measured) << "timings differ from start to start";
  EXPECT_EQ(second.counters.plans_compiled, 0);
  EXPECT_EQ(second.counters.constants_prepared, 0);
  // It is the cache that is asked: what stands there is what is chosen.
  const std::string layer = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q";
  const CacheFolder cache(cached(folder).cache);
  for (const CacheEntry& entry : cache.entries())
    if (entry.kind == "tuning") cache.write(entry.kind, entry.key, layer + "\n");
  start(kModel, cached(folder), call, quantize);
  EXPECT_EQ(chosen, std::vector{layer});
}

TEST(Cache, ADynamicPlanServesLaterStartsOfOtherSizes) {
  const TempFolder folder;
  PretrainedOptions options = cached(folder);
  options.compile.dynamic = true;
  const CallOptions square{.height = 64, .width = 64, .num_inference_steps = 1, .seed = 7},
      wide{.height = 64, .width = 96, .num_inference_steps = 1, .seed = 7}, wider{.height = 64, .width = 128, .num_inference_steps = 2, .seed = 7};
  start(kModel, options, square);
  // Height and width were equal and so one symbol: a guard fails once, and never again.
  const Started first = start(kModel, options, wide), again = start(kModel, options, wide), other = start(kModel, options, wider);
  EXPECT_EQ(first.counters.plans_compiled, 2) << "UNet and VAE";
  for (const Started* later : {&again, &other}) {
    EXPECT_EQ(later->counters.plans_compiled, 0);
    EXPECT_EQ(later->counters.constants_prepared, 0);
  }
  EXPECT_GE(other.counters.plans_resized, 2);
  expect_equal(again.latents, first.latents);
  PretrainedOptions uncached = options;
  uncached.cache.enabled = false;
  expect_equal(start(kModel, uncached, wide).latents, first.latents);
}

TEST(Cache, OtherOptionsDtypesAndWeightsAreTheirOwn) {
  const TempFolder folder, copies;
  start(kModel, cached(folder));
  PretrainedOptions other = cached(folder);
  other.compile.disable_passes = {"fuse_geglu"};
  EXPECT_EQ(start(kModel, other).counters.plans_compiled, 2) << "UNet and VAE: text encoders are not compiled by these options";
  EXPECT_EQ(start(kModel, cached(folder, CompileMode::default_, DType::float16)).counters.plans_compiled, kPlans - 1)
      << "the VAE decodes in float32 either way";
  // The same model at another place, files untouched: all of it is found. With other weights: its plans are, its weights are not.
  fs::copy(kModel, copies / "same", fs::copy_options::recursive);
  for (const auto& entry : fs::recursive_directory_iterator(kModel))
    if (entry.is_regular_file()) fs::last_write_time(copies / "same" / fs::relative(entry.path(), kModel), entry.last_write_time());
  const Started moved = start(copies / "same", cached(folder));
  EXPECT_EQ(moved.counters.plans_compiled, 0);
  EXPECT_EQ(moved.counters.constants_prepared, 0);
  fs::copy(kModel, copies / "other", fs::copy_options::recursive);
  std::string weights = read_file(copies / "other/unet/diffusion_pytorch_model.safetensors");
  weights[weights.size() - 1] ^= 0x80;  // the sign of the last number
  std::ofstream(copies / "other/unet/diffusion_pytorch_model.safetensors", std::ios::binary) << weights;
  const Started different = start(copies / "other", cached(folder));
  EXPECT_EQ(different.counters.plans_compiled, 0);
  EXPECT_GT(different.counters.constants_prepared, 0);
  expect_equal(different.latents, start(copies / "other", {.compile = {.mode = CompileMode::default_}, .cache = {.enabled = false}}).latents);
}

// Which class a text encoder is of says its pipeline, and neither its config nor its weights.
TEST(Cache, AnEncoderThatProjectsIsAnother) {
  const TempFolder folder;
  ComponentOptions options;
  options.cache = cached(folder).cache;
  const Tensor ids = Tensor::zeros({1, 77}, DType::int32);
  for (const char* name : {"CLIPTextModelWithProjection", "CLIPTextModel", "CLIPTextModelWithProjection"}) {
    options.class_name = name;
    Request request;
    const CLIPTextModelOutput out = CLIPTextComponent(kModel / "text_encoder_2", options).encode(ids, 1, request);
    EXPECT_EQ(out.text_embeds.defined(), options.class_name == "CLIPTextModelWithProjection") << name;
  }
}

TEST(Cache, CheckpointsOfOneSizeAndTimeAreNotTakenForOneAnother) {
  const TempFolder copies;
  copy_of_one_time(copies / "first", false);
  copy_of_one_time(copies / "second", true);
  for (CompileMode mode : {CompileMode::off, CompileMode::default_}) {
    const TempFolder folder;
    const Started first = start(copies / "first", cached(folder, mode)), second = start(copies / "second", cached(folder, mode));
    const Started alone = start(copies / "second", {.compile = {.mode = mode, .autotune_seconds = 0}, .cache = {.enabled = false}});
    expect_equal(second.latents, alone.latents);
    EXPECT_NE(std::memcmp(first.latents.data(), second.latents.data(), first.latents.bytes()), 0);
    expect_equal(start(copies / "first", cached(folder, mode)).latents, first.latents);
    expect_equal(start(copies / "second", cached(folder, mode)).latents, second.latents);
  }
}

TEST(Cache, NothingIsReadThatIsNotUsed) {
  const TempFolder folder;
  const auto dtype_start = [&](DType dtype) { return start(kModel, cached(folder, CompileMode::default_, dtype)); };
  const Started single = dtype_start(DType::float32), half = dtype_start(DType::float16);
  const CacheFolder cache(cached(folder).cache);
  const auto damage = [&](const std::string& part) {
    int count = 0;
    for (const CacheEntry& entry : cache.entries()) {
      if (entry.kind != "weights" || !entry.key.starts_with("unet") || !entry.key.ends_with(part)) continue;
      std::string bytes = read_file(entry.path);
      for (size_t i = bytes.size() / 2; i < bytes.size() - 100; i += 50) bytes[i] ^= 1;
      std::ofstream(entry.path, std::ios::binary) << bytes;
      ++count;
    }
    return count;
  };
  ASSERT_EQ(damage("part 1"), 1) << "what float16 needs";
  const Started again = start(kModel, cached(folder));
  EXPECT_EQ(again.counters.constants_prepared, 0);
  expect_equal(again.latents, single.latents);
  const Started repaired = dtype_start(DType::float16);
  EXPECT_GT(repaired.counters.constants_prepared, 0) << "now it was read";
  expect_equal(repaired.latents, half.latents);
  EXPECT_EQ(dtype_start(DType::float16).counters.constants_prepared, 0);
}

// Prepared weights of the UNet, a file each, and the notes of what is whole in them: gigabytes are not read from one end to the other before every
// start.
struct UNetParts {
  explicit UNetParts(const TempFolder& folder) : cache(cached(folder).cache) {}

  CacheEntry entry(const char* kind, int part = 0) const {
    for (const CacheEntry& entry : cache.entries())
      if (entry.kind == kind && entry.key.find("unet: weights ") != std::string::npos && entry.key.ends_with(cat(", part ", part))) return entry;
    return {};
  }
  // How many constants are noted under the stamp that the file has now; -1: it is not the file that the note is of.
  std::ptrdiff_t noted(int part = 0) const {
    const std::string text = cache.read("checks", entry("checks", part).key).value_or(""),
                      head = FileMap::open(entry("weights", part).path)->stamp().text() + '\n';
    return text.starts_with(head) ? std::count(text.begin() + static_cast<std::ptrdiff_t>(head.size()), text.end(), '\1') : -1;
  }

  CacheFolder cache;
};

TEST(Cache, WhatIsWholeIsNoted) {
  const TempFolder folder;
  const UNetParts unet(folder);
  start(kModel, cached(folder));
  EXPECT_GT(unet.noted(), 100) << "who has written them knows";
  EXPECT_EQ(start(kModel, cached(folder)).counters.constants_prepared, 0);
  EXPECT_GT(unet.noted(), 100) << "using the entry changes its stamp";
  unet.cache.remove("checks", unet.entry("checks").key);  // as a process that ended in between leaves it
  EXPECT_EQ(start(kModel, cached(folder)).counters.constants_prepared, 0);
  EXPECT_GT(unet.noted(), 100) << "who has read them knows too";

  // Nobody can set a file's stamp, its time of modification alone.
  const fs::path path = unet.entry("weights").path;
  const auto time = fs::last_write_time(path);
  std::string bytes = read_file(path);
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(path, std::ios::binary) << bytes;
  fs::last_write_time(path, time);
  EXPECT_EQ(unet.noted(), -1);
  EXPECT_GT(start(kModel, cached(folder)).counters.constants_prepared, 0);
}

// A start that keeps more looks where there is room for it, which is no use of what is there.
TEST(Cache, WhatIsWholeStaysNotedBesideNewParts) {
  const TempFolder folder;
  const UNetParts unet(folder);
  start(kModel, cached(folder));
  start(kModel, cached(folder, CompileMode::default_, DType::float16));
  EXPECT_GT(unet.noted(1), 100);
  EXPECT_GT(unet.noted(0), 100);
}

TEST(Cache, WhatIsTooLargeForItIsTold) {
  const TempFolder folder;
  PretrainedOptions options = cached(folder);
  options.cache.max_bytes = 1'000'000;  // plans and text encoders, but not the UNet
  std::vector<std::string> told;
  set_log_sink([&](LogLevel, const std::string& text) {
    if (text.starts_with("the prepared weights of the unet take ")) told.push_back(text);
  });
  start(kModel, options);
  set_log_sink(nullptr);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(told[0].find(", the cache holds 1.00 MB at most: "), std::string::npos) << told[0];
}

TEST(Cache, DamagedEntriesAreMadeAgain) {
  const TempFolder folder;
  const Started good = start(kModel, cached(folder));
  for (const auto& file : fs::recursive_directory_iterator(folder.path())) {
    if (!file.is_regular_file() || file.file_size() < 500) continue;
    std::string bytes = read_file(file.path());
    bytes[bytes.size() * 3 / 4] ^= 1;
    std::ofstream(file.path(), std::ios::binary) << bytes;
  }
  const Started again = start(kModel, cached(folder));
  EXPECT_EQ(again.counters.plans_compiled, kPlans);
  EXPECT_GT(again.counters.constants_prepared, 0);
  expect_equal(again.latents, good.latents);
  const Started third = start(kModel, cached(folder));
  EXPECT_EQ(third.counters.plans_loaded, kPlans);
  EXPECT_EQ(third.counters.constants_prepared, 0);
}

TEST(Cache, AModelThatIsCutShortMeanwhileIsNamed) {
  const TempFolder copies;
  fs::copy(kModel, copies / "model", fs::copy_options::recursive);
  for (const bool used : {false, true}) {
    const fs::path unet = copies / "model/unet/diffusion_pytorch_model.safetensors";
    fs::copy_file(kModel / "unet/diffusion_pytorch_model.safetensors", unet, fs::copy_options::overwrite_existing);
    DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(copies / "model", {.cache = {.enabled = false}});
    const CallOptions call{.num_inference_steps = 1, .seed = 7};
    if (used) pipe("a red apple", call);
    fs::resize_file(unet, 100'000);
    const std::string message = message_of<UserError>([&] { pipe("a red apple", call); });
    EXPECT_TRUE(message.starts_with(unet.string() + ": changed while it was in use (it had ")) << message;
  }
}

TEST(Cache, WrongWeightsAreRefusedAlsoWhenTheConfigWasSeenBefore) {
  const TempFolder folder, copies;
  start(kModel, cached(folder));
  fs::copy(kModel, copies / "model", fs::copy_options::recursive);
  fs::copy_file(kModel / "text_encoder/model.safetensors", copies / "model/unet/diffusion_pytorch_model.safetensors",
                fs::copy_options::overwrite_existing);
  const std::string message = message_of<UserError>([&] { DiffusionPipeline::from_pretrained(copies / "model", cached(folder)); });
  EXPECT_NE(message.find("do not fit config.json"), std::string::npos) << message;
}

}  // namespace
}  // namespace vivace
