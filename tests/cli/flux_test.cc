// The program's switches on FLUX: they name its components, and do what they do for others.
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "program.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

const std::string kFlux = VIVACE_SOURCE_DIR "/assets/emoji-flux";

// Small pictures of it.
std::vector<std::string> flux(std::vector<std::string> first, const std::vector<std::string>& more = {}) {
  first.insert(first.end(), {"--model", kFlux, "--height", "64", "--width", "64"});
  first.insert(first.end(), more.begin(), more.end());
  return first;
}

std::vector<std::string> generate_flux(const std::string& picture, std::vector<std::string> more = {}) {
  more.insert(more.end(), {"--num-inference-steps", "1", "--max-sequence-length", "16", "--seed", "1", "-o", picture});
  return flux({"generate", "a red apple"}, more);
}

nlohmann::json explain(std::vector<std::string> more) {
  more.emplace_back("--json");
  const Finished done = vivace(flux({"explain"}, more));
  EXPECT_EQ(done.code, 0) << done.err;
  return strict_json(done.out);
}

TEST(FluxSwitches, RegionalIsOfTheTransformersBlocks) {
  const auto plan = explain({"--compile", "default", "--regional"});
  ASSERT_EQ(plan["regions"].size(), 2u) << plan["regions"];
  EXPECT_EQ(plan["regions"][0]["occurrences"].get<int>() + plan["regions"][1]["occurrences"].get<int>(), 2 + 5);
  const TempFolder folder;
  EXPECT_EQ(vivace(generate_flux(folder / "x.npy", {"-q", "--compile", "default:transformer", "--regional"})).code, 0);
}

// No class of FLUX repaints by a mask.
TEST(FluxSwitches, AMaskIsForOthers) {
  const TempFolder folder;
  const std::string photo = VIVACE_SOURCE_DIR "/tests/picture_pipelines/data/square.png";
  expect_refused(vivace(generate_flux((folder / "x.png").string(), {"--image", photo, "--mask-image", photo})), 2,
                 {"a FluxPipeline does not take image, mask_image; mask_image is for a StableDiffusionXLInpaintPipeline or a ",
                  "; these parts make a FluxPipeline or a FluxImg2ImgPipeline (by image)"});
}

TEST(FluxSwitches, StepsAreBounded) {
  for (const char* steps : {"0", "-1", "10001", "2147483647"})
    expect_no_picture(kFlux, 2, {"num_inference_steps is ", steps, "expected 1 to 10000"}, {"--num-inference-steps", steps});
}

TEST(FluxSwitches, ThePictureSaysItsSteps) {
  const TempFolder folder;
  ASSERT_EQ(vivace(generate_flux((folder / "x.png").string(), {"-q"})).code, 0);
  EXPECT_NE(read_text(folder / "x.png").find(" num_inference_steps=1 guidance_scale=3.5 "), std::string::npos);
}

TEST(FluxSwitches, TheRecipeIsItsParts) {
  const auto plan = explain({"--recipe", "flux-fast"});
  EXPECT_EQ(plan["mode"], "max-autotune");
  EXPECT_GE(plan["recipe"].size(), 8u);
  std::vector<std::string> parts;
  for (const auto& part : plan["recipe"]) {
    const std::string option = part["option"];
    const size_t space = option.find(' ');
    parts.push_back(option.substr(0, space));
    if (space != std::string::npos) parts.push_back(option.substr(space + 1));
  }
  EXPECT_EQ(explain(parts)["step"], plan["step"]) << "given one by one";
  int int8 = 0, modulations = 0;
  for (const char* program : {"setup", "step"})
    for (const auto& step : plan[program]) {
      if (step["attributes"].get<std::string>().find("int8_dynamic") == std::string::npos) continue;
      ++int8;
      modulations += step["scope"].get<std::string>().find("norm") != std::string::npos;
    }
  EXPECT_GT(int8, 20);
  EXPECT_EQ(modulations, 0);
  const std::string text = vivace(flux({"explain", "--recipe", "flux-fast", "-q"})).out;
  EXPECT_NE(text.find("recipe flux-fast: "), std::string::npos) << text;
  EXPECT_NE(text.find("--fuse-qkv"), std::string::npos) << text;
}

TEST(FluxSwitches, ARecipeExcludesWhatItSays) {
  expect_refused(vivace(flux({"generate", "x", "--recipe", "flux-slow"})), 2, {"flux-slow", "flux-fast"});
  expect_refused(vivace(flux({"generate", "x", "--recipe", "flux-fast", "--dtype", "fp32"})), 2, {"--recipe", "--dtype"});
}

TEST(FluxSwitches, OffloadAndWhatDoesNotFit) {
  const TempFolder folder;
  const Finished offloaded = vivace(generate_flux(folder / "x.npy", {"--json", "--offload", "model", "--no-cache"}));
  ASSERT_EQ(offloaded.code, 0) << offloaded.err;
  EXPECT_GE(strict_json(offloaded.out)["counters"]["parts_given_back"], 4);
  const Finished kept = vivace(generate_flux(folder / "y.npy", {"-v", "--offload", "none"}));
  ASSERT_EQ(kept.code, 0) << kept.err;
  EXPECT_NE(kept.err.find("memory: encoding "), std::string::npos) << kept.err;
  EXPECT_EQ(read_text(folder / "x.npy"), read_text(folder / "y.npy"));
  expect_no_picture(kFlux, 1, {"of memory at a time", "and there are 10.0 MB: "},
                    {"--height", "64", "--width", "64", "--max-sequence-length", "16", "--max-memory", "10M"});
  expect_no_picture(kFlux, 2, {"--max-memory", "\"much\""}, {"--max-memory", "much"});
  expect_no_picture(kFlux, 2, {"offload", "\"disk\"", "auto, model, sequential or none"}, {"--offload", "disk"});
}

// A tiny AuraFlow of random weights.
fs::path aura(const TempFolder& folder) {
  const fs::path source = VIVACE_SOURCE_DIR, configs = folder / "configs", model = folder / "aura";
  fs::copy(source / "tests/transformer_pipelines/data/configs/aura", configs, fs::copy_options::recursive);
  fs::copy(source / "tests/tokenizers/data/llama", configs / "tokenizer");
  const Finished made = vivace({"make-random", configs.string(), model.string(), "--quiet", "--threads", "1"});
  EXPECT_EQ(made.code, 0) << made.err;
  return model;
}

const std::vector<std::string> kSmall{
    "--num-inference-steps", "1", "--max-sequence-length", "16", "--height", "32", "--width", "32", "--threads", "1"};

TEST(AuraFlowSwitches, RefusesSizesThatAreNoMultiple) {
  const TempFolder folder;
  const fs::path model = aura(folder);
  expect_no_picture(model, 2, {"height", "30", "multiple"}, {"--height", "30", "--width", "32"});
  expect_no_picture(model, 2, {"width", "34", "multiple"}, {"--height", "32", "--width", "34"});
  expect_no_picture(model, 2, {"4096", "pos_embed_max_size"}, {"--height", "4096", "--width", "32"});
  expect_no_picture(model, 2, {"max_sequence_length", "0"}, {"--height", "32", "--width", "32", "--max-sequence-length", "0"});
  expect_no_picture(model, 2, {"AuraFlowPipeline", "true_cfg_scale"}, {"--true-cfg-scale", "2"});
}

// Every rung draws a picture, the fused and the quantised ones too.
void expect_ladder(const std::string& model, const fs::path& report) {
  std::vector<std::string> arguments{"bench", "a red apple", "--model", model, "--ladder", "--runs", "1", "-q", "--json", report.string()};
  arguments.insert(arguments.end(), kSmall.begin(), kSmall.end());
  const Finished done = vivace(arguments);
  ASSERT_EQ(done.code, 0) << done.err;
  const auto rungs = strict_json(read_text(report))["rungs"];
  ASSERT_EQ(rungs.size(), 8u);
  for (const auto& rung : rungs) {
    EXPECT_FALSE(rung.contains("error")) << rung["name"] << ": " << rung["error"];
    EXPECT_EQ(rung["pictures"].size(), 1u) << rung["name"];
    for (const auto& q : rung["quality"]) EXPECT_TRUE(q["psnr"].is_null() || q["psnr"].get<double>() > 20) << rung["name"] << ' ' << q;
  }
}

// The layers that tune tried in 8 bits, by the names of their groups.
std::string tuned(const std::string& model, const fs::path& profile) {
  std::vector<std::string> arguments{"tune", "a red apple", "--model", model, "--max-drift", "PSNR>=20", "-o", profile.string()};
  arguments.insert(arguments.end(), kSmall.begin(), kSmall.end());
  const Finished done = vivace(arguments);
  EXPECT_EQ(done.code, 0) << done.err;
  std::string names;
  const auto written = strict_json(read_text(profile));
  for (const auto& [name, result] : written["tuning"]["measured"].items()) names += name + '\n';
  return names;
}

TEST(FluxSwitches, BenchAndTuneKnowItsParts) {
  const TempFolder folder;
  expect_ladder(kFlux, folder / "report.json");
  EXPECT_EQ(strict_json(read_text(folder / "report.json"))["settings"]["guidance_scale"], 3.5);
  const std::string names = tuned(kFlux, folder / "profile.json");
  EXPECT_NE(names.find("int8 single_transformer_blocks attn in "), std::string::npos) << names;
  EXPECT_NE(names.find("int8 transformer_blocks ff_context in "), std::string::npos) << names;
}

TEST(AuraFlowSwitches, BenchAndTuneKnowItsParts) {
  const TempFolder folder;
  const std::string model = aura(folder).string();
  expect_ladder(model, folder / "report.json");
  const std::string names = tuned(model, folder / "profile.json");
  EXPECT_NE(names.find("int8 single_transformer_blocks attn in "), std::string::npos) << names;
  EXPECT_NE(names.find("int8 joint_transformer_blocks attn in "), std::string::npos) << names;
}

}  // namespace
}  // namespace vivace
