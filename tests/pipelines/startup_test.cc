// The second start: plans and prepared weights from the cache or from a package, equal pictures, and damage that is noticed.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "../temp_folder.h"
#include "backends/cpu/device.h"
#include "base/cache_folder.h"
#include "base/files.h"
#include "components/package.h"
#include "runtime/plan_file.h"
#include "runtime/session.h"
#include "vivace/vivace.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

const fs::path kModel = fs::path(VIVACE_SOURCE_DIR) / "assets/emoji-xl";

struct Start {
  Tensor latents;
  RequestCounters counters;  // of this start alone
};

Start start(const fs::path& model, const PretrainedOptions& options, const CallOptions& call = {.num_inference_steps = 1, .seed = 7},
            const std::function<void(DiffusionPipeline&)>& prepare = nullptr) {
  const RequestCounters before = process_counters();
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(model, options);
  if (prepare) prepare(pipe);
  Start result;
  result.latents = pipe("a red apple", call).latents;
  const RequestCounters after = process_counters();
  result.counters.plans_compiled = after.plans_compiled - before.plans_compiled;
  result.counters.plans_loaded = after.plans_loaded - before.plans_loaded;
  result.counters.plans_resized = after.plans_resized - before.plans_resized;
  result.counters.constants_prepared = after.constants_prepared - before.constants_prepared;
  result.counters.settings_timed = after.settings_timed - before.settings_timed;
  return result;
}

void expect_equal(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.bytes()), 0);
}

PretrainedOptions cached(const TempFolder& folder, CompileMode mode = CompileMode::default_, DType dtype = DType::float32) {
  return {.dtype = dtype, .compile = {.mode = mode, .autotune_seconds = 0}, .cache = {.folder = folder.path(), .max_bytes = 1'000'000'000}};
}

constexpr int64_t kPlans = 4;  // two text encoders, UNet, VAE

TEST(Cache, TheSecondStartCompilesAndPacksNothing) {
  for (DType dtype : {DType::float32, DType::float16})
    for (CompileMode mode : {CompileMode::off, CompileMode::default_, CompileMode::max_autotune}) {
      const TempFolder folder;
      const Start without = start(kModel, {.dtype = dtype, .compile = {.mode = mode, .autotune_seconds = 0}, .cache = {.enabled = false}});
      const Start first = start(kModel, cached(folder, mode, dtype)), second = start(kModel, cached(folder, mode, dtype));
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
  const Start first = start(kModel, options), second = start(kModel, options);
  EXPECT_GT(first.counters.settings_timed, 0);
  EXPECT_EQ(second.counters.settings_timed, 0);
  expect_equal(second.latents, first.latents);
  // Another plan takes what was found for calls that it shares, and times the others alone.
  options.compile.disable_passes = {"fuse_elementwise"};
  options.compile.autotune_seconds = 0;
  const Start other = start(kModel, options);
  EXPECT_GT(other.counters.plans_compiled, 0);
  EXPECT_EQ(other.counters.settings_timed, 0);
}

TEST(Cache, ANewSizeReusesTheWeights) {
  const TempFolder folder;
  start(kModel, cached(folder));
  const CallOptions wide{.height = 64, .width = 96, .num_inference_steps = 1, .seed = 7};
  const Start other = start(kModel, cached(folder), wide);
  EXPECT_EQ(other.counters.plans_compiled, 2) << "UNet and VAE; the text encoders are as before";
  EXPECT_EQ(start(kModel, cached(folder), wide).counters.constants_prepared, 0);
}

TEST(Cache, ASecondQuantisedStartQuantisesNothing) {
  const std::vector<std::function<void(DiffusionPipeline&)>> quantisations{
      [](DiffusionPipeline& pipe) { apply_dynamic_quant(pipe.unet(), quantize_all); },
      [](DiffusionPipeline& pipe) { quantize_weight_only(pipe.unet(), DType::float8_e4m3); },
  };
  for (const auto& quantize : quantisations) {
    const TempFolder folder;
    const CallOptions call{.num_inference_steps = 1, .seed = 7};
    const Start without = start(kModel, {.compile = {.mode = CompileMode::default_}, .cache = {.enabled = false}}, call, quantize);
    start(kModel, cached(folder));
    const Start first = start(kModel, cached(folder), call, quantize), second = start(kModel, cached(folder), call, quantize);
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
  const Start second = start(kModel, cached(folder), call, quantize);
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
  const CallOptions square{.height = 64, .width = 64, .num_inference_steps = 1, .seed = 7}, wide{.height = 64, .width = 96, .num_inference_steps = 1, .seed = 7},
      wider{.height = 64, .width = 128, .num_inference_steps = 2, .seed = 7};
  start(kModel, options, square);
  // Height and width were equal and so one symbol: a guard fails once, and never again.
  const Start first = start(kModel, options, wide), again = start(kModel, options, wide), other = start(kModel, options, wider);
  EXPECT_EQ(first.counters.plans_compiled, 2) << "UNet and VAE";
  for (const Start* later : {&again, &other}) {
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
  EXPECT_EQ(start(kModel, cached(folder, CompileMode::default_, DType::float16)).counters.plans_compiled, kPlans - 1) << "the VAE decodes in float32 either way";
  // The same model at another place, files untouched: all of it is found. With other weights: its plans are, its weights are not.
  fs::copy(kModel, copies / "same", fs::copy_options::recursive);
  for (const auto& entry : fs::recursive_directory_iterator(kModel))
    if (entry.is_regular_file()) fs::last_write_time(copies / "same" / fs::relative(entry.path(), kModel), entry.last_write_time());
  const Start moved = start(copies / "same", cached(folder));
  EXPECT_EQ(moved.counters.plans_compiled, 0);
  EXPECT_EQ(moved.counters.constants_prepared, 0);
  fs::copy(kModel, copies / "other", fs::copy_options::recursive);
  std::string weights = read_file(copies / "other/unet/diffusion_pytorch_model.safetensors");
  weights[weights.size() - 1] ^= 0x80;  // the sign of the last number
  std::ofstream(copies / "other/unet/diffusion_pytorch_model.safetensors", std::ios::binary) << weights;
  const Start different = start(copies / "other", cached(folder));
  EXPECT_EQ(different.counters.plans_compiled, 0);
  EXPECT_GT(different.counters.constants_prepared, 0);
  expect_equal(different.latents, start(copies / "other", {.compile = {.mode = CompileMode::default_}, .cache = {.enabled = false}}).latents);
}

// A copy of the model whose files all have one time, as in reproducible archives. `changed`: other numbers in the UNet.
void copy_of_one_time(const fs::path& to, bool changed) {
  fs::copy(kModel, to, fs::copy_options::recursive);
  const fs::path unet = to / "unet/diffusion_pytorch_model.safetensors";
  if (changed) {
    std::string weights = read_file(unet);
    for (size_t i = 1; i <= 2000; ++i) weights[weights.size() - 2 * i + 1] ^= 0x80;  // the signs of the last numbers
    std::ofstream(unet, std::ios::binary) << weights;
  }
  for (const auto& entry : fs::recursive_directory_iterator(to))
    if (entry.is_regular_file()) fs::last_write_time(entry.path(), fs::file_time_type(std::chrono::file_clock::from_sys(std::chrono::sys_seconds(std::chrono::seconds(1)))));
}

TEST(Cache, CheckpointsOfOneSizeAndTimeAreNotTakenForOneAnother) {
  const TempFolder copies;
  copy_of_one_time(copies / "first", false);
  copy_of_one_time(copies / "second", true);
  for (CompileMode mode : {CompileMode::off, CompileMode::default_}) {
    const TempFolder folder;
    const Start first = start(copies / "first", cached(folder, mode)), second = start(copies / "second", cached(folder, mode));
    const Start alone = start(copies / "second", {.compile = {.mode = mode, .autotune_seconds = 0}, .cache = {.enabled = false}});
    expect_equal(second.latents, alone.latents);
    EXPECT_NE(std::memcmp(first.latents.data(), second.latents.data(), first.latents.bytes()), 0);
    expect_equal(start(copies / "first", cached(folder, mode)).latents, first.latents);
    expect_equal(start(copies / "second", cached(folder, mode)).latents, second.latents);
  }
}

TEST(Cache, NothingIsReadThatIsNotUsed) {
  const TempFolder folder;
  const auto dtype_start = [&](DType dtype) { return start(kModel, cached(folder, CompileMode::default_, dtype)); };
  const Start single = dtype_start(DType::float32), half = dtype_start(DType::float16);
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
  const Start again = start(kModel, cached(folder));
  EXPECT_EQ(again.counters.constants_prepared, 0);
  expect_equal(again.latents, single.latents);
  const Start repaired = dtype_start(DType::float16);
  EXPECT_GT(repaired.counters.constants_prepared, 0) << "now it was read";
  expect_equal(repaired.latents, half.latents);
  EXPECT_EQ(dtype_start(DType::float16).counters.constants_prepared, 0);
}

TEST(Cache, DamagedEntriesAreMadeAgain) {
  const TempFolder folder;
  const Start good = start(kModel, cached(folder));
  for (const auto& file : fs::recursive_directory_iterator(folder.path())) {
    if (!file.is_regular_file() || file.file_size() < 500) continue;
    std::string bytes = read_file(file.path());
    bytes[bytes.size() * 3 / 4] ^= 1;
    std::ofstream(file.path(), std::ios::binary) << bytes;
  }
  const Start again = start(kModel, cached(folder));
  EXPECT_EQ(again.counters.plans_compiled, kPlans);
  EXPECT_GT(again.counters.constants_prepared, 0);
  expect_equal(again.latents, good.latents);
  const Start third = start(kModel, cached(folder));
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
  fs::copy_file(kModel / "text_encoder/model.safetensors", copies / "model/unet/diffusion_pytorch_model.safetensors", fs::copy_options::overwrite_existing);
  const std::string message = message_of<UserError>([&] { DiffusionPipeline::from_pretrained(copies / "model", cached(folder)); });
  EXPECT_NE(message.find("do not fit config.json"), std::string::npos) << message;
}

class Package : public testing::Test {
 protected:
  void export_model(const ExportOptions& options = {}, DType dtype = DType::float32) {
    DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(kModel, {.dtype = dtype, .compile = {.mode = CompileMode::default_}, .cache = {.enabled = false}});
    export_package(pipe, path_, options);
  }
  Start run(const CallOptions& call = {.num_inference_steps = 1, .seed = 7}) { return start(path_, {.cache = {.enabled = false}}, call); }
  std::string refused() {
    return message_of<UserError>([&] { run(); });
  }
  void change(const std::string& key, const nlohmann::json& value) {
    nlohmann::json json = nlohmann::json::parse(std::ifstream(path_ / "package.json"));
    json[key] = value;
    std::ofstream(path_ / "package.json") << json;
  }

  TempFolder folder_;
  fs::path path_ = folder_ / "emoji.vivace";
};

TEST_F(Package, RunsWithoutCompilingOrPacking) {
  for (DType dtype : {DType::float32, DType::float16}) {
    export_model({}, dtype);
    EXPECT_EQ(folder_.files(), 1u) << "nothing half written is left";
    const Start packaged = run();
    EXPECT_EQ(packaged.counters.plans_compiled, 0);
    EXPECT_EQ(packaged.counters.plans_loaded, kPlans);
    EXPECT_EQ(packaged.counters.constants_prepared, 0);
    const Start plain = start(kModel, {.dtype = dtype, .compile = {.mode = CompileMode::default_}, .cache = {.enabled = false}});
    expect_equal(packaged.latents, plain.latents);
  }
}

TEST_F(Package, HoldsQuantisedLayersAndDynamicPlans) {
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(kModel, {.compile = {.mode = CompileMode::default_, .dynamic = true, .use_duck_shape = false}, .cache = {.enabled = false}});
  apply_dynamic_quant(pipe.unet(), quantize_all);
  export_package(pipe, path_);
  for (const CallOptions& call : {CallOptions{.num_inference_steps = 1, .seed = 7}, {.height = 64, .width = 96, .num_inference_steps = 2, .guidance_scale = 1, .seed = 7}}) {
    const Start packaged = run(call);
    EXPECT_EQ(packaged.counters.plans_compiled, 0);
    EXPECT_EQ(packaged.counters.constants_prepared, 0);
    expect_equal(packaged.latents, pipe("a red apple", call).latents);
  }
  DiffusionPipeline packaged = DiffusionPipeline::from_pretrained(path_);
  EXPECT_THROW(apply_dynamic_quant(packaged.unet(), quantize_all), UsageError);
}

TEST_F(Package, NeedsNoCheckpoint) {
  const TempFolder copies;
  fs::copy(kModel, copies / "model", fs::copy_options::recursive);
  {
    DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(copies / "model", {.cache = {.enabled = false}});
    export_package(pipe, path_);
  }
  const Start before = run();
  fs::remove_all(copies / "model");
  fs::rename(path_, folder_ / "moved.vivace");
  path_ = folder_ / "moved.vivace";
  expect_equal(run().latents, before.latents);
}

TEST_F(Package, WithoutWeightsItNamesTheCheckpoint) {
  export_model({.weights = false});
  const Start packaged = run();
  EXPECT_EQ(packaged.counters.plans_compiled, 0);
  EXPECT_GT(packaged.counters.constants_prepared, 0);
  expect_equal(packaged.latents, start(kModel, {.compile = {.mode = CompileMode::default_}, .cache = {.enabled = false}}).latents);
  EXPECT_FALSE(fs::exists(path_ / "unet/weights.bin"));
  nlohmann::json json = nlohmann::json::parse(std::ifstream(path_ / "package.json"));
  json["components"]["unet"]["checkpoint"] = (kModel / "vae").string();
  std::ofstream(path_ / "package.json") << json;
  EXPECT_NE(refused().find("is not the checkpoint that the package was made from"), std::string::npos);
}

TEST_F(Package, WithoutWeightsItRunsWhatTheCheckpointHolds) {
  const TempFolder copies, cache;
  copy_of_one_time(copies / "model", false);
  {
    DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(copies / "model", {.compile = {.mode = CompileMode::default_}, .cache = {.enabled = false}});
    export_package(pipe, path_, {.weights = false});
  }
  const PretrainedOptions options{.cache = cached(cache).cache};
  const Start before = start(path_, options);
  fs::remove_all(copies / "model");
  copy_of_one_time(copies / "model", true);
  const Start after = start(path_, options);
  EXPECT_NE(std::memcmp(before.latents.data(), after.latents.data(), after.latents.bytes()), 0);
  expect_equal(after.latents, start(copies / "model", {.compile = {.mode = CompileMode::default_}, .cache = {.enabled = false}}).latents);
}

TEST_F(Package, PlansReadTheCheckpointsTensorsAsTheyAre) {
  export_model({.weights = false});
  for (const char* name : {"unet/plan-0.bin", "unet/plan-1.bin"}) {
    const std::string bytes = read_file(path_ / name);
    Plan plan = parse_plan(std::as_bytes(std::span(bytes)), name, *cpu::device());
    const auto step = std::ranges::find_if(plan.prepare, [&](const PlanStep& s) { return s.pack && plan.values[static_cast<size_t>(s.in[0])].where == PlanValue::Where::weight; });
    ASSERT_NE(step, plan.prepare.end());
    for (int32_t v : {step->in[0], step->out}) {
      DType& dtype = plan.values[static_cast<size_t>(v)].type.dtype;
      dtype = dtype == DType::float32 ? DType::float16 : DType::float32;
    }
    std::ofstream(path_ / name, std::ios::binary) << serialize_plan(plan);
  }
  EXPECT_NE(refused().find("the package's plan reads"), std::string::npos);
}

TEST_F(Package, SeveralSizesAndOnlyThose) {
  export_model({.sizes = {{64, 64}, {64, 96}}});
  for (int64_t width : {64, 96}) EXPECT_EQ(run({.height = 64, .width = width, .num_inference_steps = 1, .guidance_scale = width == 64 ? 1.0 : 5.0, .seed = 7}).counters.plans_compiled, 0);
  const std::string message = message_of<UserError>([&] { run({.height = 128, .width = 128, .num_inference_steps = 1, .seed = 7}); });
  for (const char* part : {"no plan of unet for ", "height 16, tokens 77, width 16; it has: ", "height 8, tokens 77, width 8", "height 8, tokens 77, width 12"}) EXPECT_NE(message.find(part), std::string::npos) << part << " in " << message;
  EXPECT_THROW(export_model({.sizes = {{65, 64}}}), UsageError);
}

TEST_F(Package, CannotBeCompiledOrCastAnew) {
  export_model();
  EXPECT_THROW(DiffusionPipeline::from_pretrained(path_, {.dtype = bfloat16}), UsageError);
  EXPECT_THROW(DiffusionPipeline::from_pretrained(path_, {.compile = {.mode = CompileMode::default_}}), UsageError);
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(path_);
  EXPECT_THROW(pipe.unet().compile({}), UsageError);
  EXPECT_THROW(export_package(pipe, folder_ / "again.vivace"), UsageError);
  EXPECT_GT(pipe.unet().num_parameters(), 0);
}

TEST_F(Package, RefusesOtherMachinesAndFormats) {
  export_model();
  change("isa", "avx512_vnni_of_the_future");
  EXPECT_NE(refused().find("is for the instruction set avx512_vnni_of_the_future, this machine runs"), std::string::npos);
  export_model();
  change("format", 99);
  EXPECT_NE(refused().find("has format 99, this Vivace reads"), std::string::npos);
  export_model();
  change("packing", kPackingVersion + 1);
  EXPECT_NE(refused().find("pack weights in version"), std::string::npos);
  export_model();
  std::ofstream(path_ / "package.json") << "{";
  EXPECT_NE(refused().find("package.json"), std::string::npos);
}

TEST_F(Package, DamageIsAClearError) {
  export_model();
  const std::string weights = read_file(path_ / "unet/weights.bin"), plan = read_file(path_ / "unet/plan-0.bin");
  const auto with = [&](const char* file, const std::string& bytes) {
    std::ofstream(path_ / file, std::ios::binary) << bytes;
    return refused();
  };
  const auto flipped = [](std::string bytes, size_t at) {
    bytes[at] ^= 1;
    return bytes;
  };
  EXPECT_NE(with("unet/weights.bin", weights.substr(0, weights.size() / 2)).find("weights.bin: has "), std::string::npos);
  EXPECT_NE(with("unet/weights.bin", "no").find("holds no prepared weights"), std::string::npos);
  EXPECT_NE(with("unet/weights.bin", flipped(weights, 0)).find("holds no prepared weights"), std::string::npos);
  EXPECT_NE(with("unet/weights.bin", flipped(weights, 8)).find("holds prepared weights of format"), std::string::npos);
  EXPECT_NE(with("unet/weights.bin", flipped(weights, 12)).find("damaged"), std::string::npos);
  EXPECT_NE(with("unet/weights.bin", flipped(weights, 50)).find("damaged"), std::string::npos);
  EXPECT_NE(with("unet/weights.bin", flipped(weights, weights.size() - 70)).find("damaged"), std::string::npos);
  std::ofstream(path_ / "unet/weights.bin", std::ios::binary) << weights;
  for (const char* file : {"unet/plan-0.bin", "unet/plan-1.bin"}) std::ofstream(path_ / file, std::ios::binary) << flipped(plan, plan.size() / 2);
  EXPECT_NE(refused().find("unet/plan-"), std::string::npos);
  fs::remove(path_ / "unet/weights.bin");
  EXPECT_NE(refused().find("unet/weights.bin: file not found"), std::string::npos);
}

TEST_F(Package, ReplacesAPackageAndNothingElse) {
  export_model();
  export_model();
  EXPECT_EQ(folder_.files(), 1u);
  fs::create_directory(folder_ / "mine");
  path_ = folder_ / "mine";
  EXPECT_NE(message_of<UserError>([&] { export_model(); }).find("something that is no package is there"), std::string::npos);
  path_ = folder_ / "absent" / "a.vivace";
  EXPECT_NE(message_of<UserError>([&] { export_model(); }).find("does not exist"), std::string::npos);
  path_ = folder_ / "emoji.vivace";
  int files = 0;
  EXPECT_THROW(export_model({.on_file = [&](const std::string&) { if (++files == 5) throw Interrupted("stop"); }}), Interrupted);
  EXPECT_EQ(folder_.files(), 2u) << "the package of before and mine";
  EXPECT_EQ(run().counters.plans_compiled, 0);
}

}  // namespace
}  // namespace vivace
