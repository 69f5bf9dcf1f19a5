// Packages: starts without compiling or packing, what a package refuses, and damage that is noticed.
#include "components/package.h"

#include <nlohmann/json.hpp>

#include "backends/cpu/device.h"
#include "base/cache_folder.h"
#include "base/json.h"
#include "base/log.h"
#include "components/plan_shelf.h"
#include "runtime/plan_file.h"
#include "startup.h"

namespace vivace {
namespace {

class Package : public testing::Test {
 protected:
  void export_model(const ExportOptions& options = {}, DType dtype = DType::float32) {
    DiffusionPipeline pipe =
        DiffusionPipeline::from_pretrained(kModel, {.dtype = dtype, .compile = {.mode = CompileMode::default_}, .cache = {.enabled = false}});
    export_package(pipe, path_, options);
  }
  Started run(const CallOptions& call = {.num_inference_steps = 1, .seed = 7}) { return start(path_, {.cache = {.enabled = false}}, call); }
  std::string refused() {
    return message_of<UserError>([&] { run(); });
  }
  void change(const std::string& key, const nlohmann::json& value) {
    nlohmann::json json = read_json(path_ / "package.json");
    json[key] = value;
    std::ofstream(path_ / "package.json") << json_text(json);
  }

  TempFolder folder_;
  fs::path path_ = folder_ / "emoji.vivace";
};

TEST_F(Package, RunsWithoutCompilingOrPacking) {
  for (DType dtype : {DType::float32, DType::float16}) {
    export_model({}, dtype);
    EXPECT_EQ(folder_.files(), 1u) << "nothing half written is left";
    const Started packaged = run();
    EXPECT_EQ(packaged.counters.plans_compiled, 0);
    EXPECT_EQ(packaged.counters.plans_loaded, kPlans);
    EXPECT_EQ(packaged.counters.constants_prepared, 0);
    const Started plain = start(kModel, {.dtype = dtype, .compile = {.mode = CompileMode::default_}, .cache = {.enabled = false}});
    expect_equal(packaged.latents, plain.latents);
  }
}

TEST_F(Package, HoldsQuantisedLayersAndDynamicPlans) {
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(
      kModel, {.compile = {.mode = CompileMode::default_, .dynamic = true, .use_duck_shape = false}, .cache = {.enabled = false}});
  apply_dynamic_quant(pipe.unet(), quantize_all);
  export_package(pipe, path_);
  for (const CallOptions& call :
       {CallOptions{.num_inference_steps = 1, .seed = 7}, {.height = 64, .width = 96, .num_inference_steps = 2, .guidance_scale = 1, .seed = 7}}) {
    const Started packaged = run(call);
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
  const Started before = run();
  fs::remove_all(copies / "model");
  fs::rename(path_, folder_ / "moved.vivace");
  path_ = folder_ / "moved.vivace";
  expect_equal(run().latents, before.latents);
}

TEST_F(Package, KeepsTheSchedulerThatWasSet) {
  const CallOptions call{.num_inference_steps = 2, .seed = 7};
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(kModel, {.cache = {.enabled = false}});
  pipe.set_scheduler(make_scheduler("dpmpp_2m", pipe.scheduler().config(), R"({"use_karras_sigmas": true})"));
  export_package(pipe, path_);
  expect_equal(run(call).latents, pipe("a red apple", call).latents);
  EXPECT_EQ(DiffusionPipeline::from_pretrained(path_).scheduler().config(), pipe.scheduler().config());
}

TEST_F(Package, WithoutWeightsItNamesTheCheckpoint) {
  export_model({.weights = false});
  const Started packaged = run();
  EXPECT_EQ(packaged.counters.plans_compiled, 0);
  EXPECT_GT(packaged.counters.constants_prepared, 0);
  expect_equal(packaged.latents, start(kModel, {.compile = {.mode = CompileMode::default_}, .cache = {.enabled = false}}).latents);
  EXPECT_FALSE(fs::exists(path_ / "unet/weights.bin"));
  nlohmann::json json = read_json(path_ / "package.json");
  json["components"]["unet"]["checkpoint"] = (kModel / "vae").string();
  std::ofstream(path_ / "package.json") << json_text(json);
  EXPECT_NE(refused().find("is not the checkpoint that the package was made from"), std::string::npos);
}

TEST_F(Package, WithoutWeightsItRunsWhatTheCheckpointHolds) {
  const TempFolder copies, cache;
  copy_of_one_time(copies / "model", false);
  {
    DiffusionPipeline pipe =
        DiffusionPipeline::from_pretrained(copies / "model", {.compile = {.mode = CompileMode::default_}, .cache = {.enabled = false}});
    export_package(pipe, path_, {.weights = false});
  }
  const PretrainedOptions options{.cache = cached(cache).cache};
  const Started before = start(path_, options);
  fs::remove_all(copies / "model");
  copy_of_one_time(copies / "model", true);
  const Started after = start(path_, options);
  EXPECT_NE(std::memcmp(before.latents.data(), after.latents.data(), after.latents.bytes()), 0);
  expect_equal(after.latents, start(copies / "model", {.compile = {.mode = CompileMode::default_}, .cache = {.enabled = false}}).latents);
}

TEST_F(Package, PlansReadTheCheckpointsTensorsAsTheyAre) {
  export_model({.weights = false});
  for (const char* name : {"unet/plan-0.bin", "unet/plan-1.bin"}) {
    const std::string bytes = read_file(path_ / name);
    Plan plan = parse_plan(std::as_bytes(std::span(bytes)), name, *cpu::device());
    const auto step = std::ranges::find_if(
        plan.prepare, [&](const PlanStep& s) { return s.pack && plan.values[static_cast<size_t>(s.in[0])].where == PlanValue::Where::weight; });
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
  for (int64_t width : {64, 96})
    EXPECT_EQ(
        run({.height = 64, .width = width, .num_inference_steps = 1, .guidance_scale = width == 64 ? 1.0 : 5.0, .seed = 7}).counters.plans_compiled,
        0);
  const std::string message = message_of<UserError>([&] { run({.height = 128, .width = 128, .num_inference_steps = 1, .seed = 7}); });
  for (const char* part :
       {"no plan of unet for ", "height 16, tokens 77, width 16; it has: ", "height 8, tokens 77, width 8", "height 8, tokens 77, width 12"})
    EXPECT_NE(message.find(part), std::string::npos) << part << " in " << message;
  EXPECT_THROW(export_model({.sizes = {{65, 64}}}), UsageError);
}

TEST_F(Package, HasThePlansOfMoreSizesThanAComponentKeeps) {
  ExportOptions options;
  constexpr size_t kSizes = PlanShelf::kRows / 2 + 1;
  for (size_t i = 0; i < kSizes; ++i) options.sizes.push_back({64, 64 + 16 * static_cast<int64_t>(i)});
  export_model(options);
  const nlohmann::json json = nlohmann::json::parse(std::ifstream(path_ / "package.json"));
  EXPECT_EQ(json["components"]["unet"]["plans"].size(), 2 * kSizes);  // with guidance and without
}

TEST_F(Package, HasNoPlansForAScopeOfSdpaKernel) {
  export_model();
  const sdpa_kernel scope(SDPBackend::math);
  const std::string message = refused();
  EXPECT_NE(message.find("tokens 77 sdpa math; it has: "), std::string::npos) << message;
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

TEST_F(Package, WeightsAreCheckedOnce) {
  export_model();
  const TempFolder folder;
  const PretrainedOptions options{.cache = cached(folder).cache};
  const fs::path weights = path_ / "unet/weights.bin";
  // How many constants are noted under the stamp that the file has; -1: it is not the file that the note is of.
  const auto noted = [&]() -> std::ptrdiff_t {
    const std::string text = CacheFolder(options.cache).read("checks", cat("whole: ", weights.string())).value_or(""),
                      head = FileMap::open(weights)->stamp().text() + '\n';
    return text.starts_with(head) ? std::count(text.begin() + static_cast<std::ptrdiff_t>(head.size()), text.end(), '\1') : -1;
  };
  const Started first = start(path_, options);
  EXPECT_GT(noted(), 100);
  expect_equal(start(path_, options).latents, first.latents);
  std::string bytes = read_file(weights);
  bytes[bytes.size() - 70] ^= 1;
  std::ofstream(weights, std::ios::binary) << bytes;
  EXPECT_EQ(noted(), -1);
  EXPECT_NE(message_of<UserError>([&] { start(path_, options); }).find("damaged (the checksum of a constant differs)"), std::string::npos);
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
  EXPECT_THROW(export_model({.on_file =
                                 [&](const std::string&) {
                                   if (++files == 5) throw Interrupted("stop");
                                 }}),
               Interrupted);
  EXPECT_EQ(folder_.files(), 2u) << "the package of before and mine";
  EXPECT_EQ(run().counters.plans_compiled, 0);
}

}  // namespace
}  // namespace vivace
