// vivace tune and the profiles it writes: functions, never speed.
#include <map>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "program.h"
#include "vivace/error.h"
#include "vivace/profile.h"

namespace vivace {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::vector<std::string> tune(const fs::path& profile, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments{"tune", "x",         "y", "--model", tiny_model().string(), "--num-inference-steps",
                                     "2",    "--threads", "1", "-o",      profile.string()};
  if (std::ranges::count(more, "--max-drift") == 0) arguments.insert(arguments.end(), {"--max-drift", "PSNR >= 20"});
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

Finished generate_tuned(const fs::path& picture, std::vector<std::string> more) {
  std::vector<std::string> arguments{"generate", "x",  "--model", tiny_model().string(), "--num-inference-steps", "2", "--seed", "3", "--threads",
                                     "1",        "-q", "-o",      picture.string()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return vivace(arguments);
}

json read_profile(const fs::path& path) { return strict_json(read_text(path)); }

TEST(Tune, ATinyBudgetGivesCompiledFloat32AndTheSameCommandGoesOn) {
  const TempFolder folder;
  const fs::path profile = folder / "profile.json";
  const Finished first = vivace(tune(profile, {"--budget", "0.000001"}));
  ASSERT_EQ(first.code, 0) << first.err;
  const json short_one = read_profile(profile);
  EXPECT_EQ(short_one["tuning"]["measured"].size(), 1u);
  EXPECT_EQ(short_one["dtype"], "float32");
  EXPECT_EQ(short_one["compile"]["mode"], "default");

  const Finished second = vivace(tune(profile));
  ASSERT_EQ(second.code, 0) << second.err;
  const json whole = read_profile(profile);
  EXPECT_GT(whole["tuning"]["measured"].size(), 5u);
  EXPECT_EQ(whole["tuning"]["measured"]["dtype float32"], short_one["tuning"]["measured"]["dtype float32"])
      << "what was measured is not measured again";
  EXPECT_TRUE(whole["result"]["psnr"].is_null() || whole["result"]["psnr"].get<double>() >= 20);

  const Finished third = vivace(tune(profile));
  ASSERT_EQ(third.code, 0) << third.err;
  EXPECT_EQ(read_profile(profile)["tuning"], whole["tuning"]);
}

TEST(Tune, ABoundThatNothingMeetsLeavesCompiledFloat32) {
  const TempFolder folder;
  const Finished done = vivace(tune(folder / "p.json", {"--max-drift", "PSNR>=199"}));
  ASSERT_EQ(done.code, 0) << done.err;
  const json profile = read_profile(folder / "p.json");
  EXPECT_EQ(profile["dtype"], "float32");
  EXPECT_TRUE(profile["chosen"].empty());
}

// Of ten steps with a strength of 0.3 three are left, and of two none.
TEST(Tune, APictureToBeginWithIsDrawnFrom) {
  const TempFolder folder;
  const std::string picture = (folder / "x.png").string();
  ASSERT_EQ(generate_tuned(picture, {}).code, 0);
  const Finished done = vivace({"tune", "x", "--model", tiny_model().string(), "--image", picture, "--strength", "0.3", "--num-inference-steps", "10",
                                "--threads", "1", "--budget", "0.000001", "--max-drift", "PSNR>=20", "-o", (folder / "p.json").string()});
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(read_profile(folder / "p.json")["tuning"]["measured"].size(), 1u);
}

TEST(Tune, ACallWithoutAStepIsRefused) {
  const TempFolder folder;
  expect_refused(vivace(tune(folder / "p.json", {"--denoising-end", "0.001"})), 2, {"takes no step", "--denoising-end"});
  EXPECT_EQ(folder.files(), 0u);
}

TEST(Tune, ProductsOfInt16AreACandidateWhereThereAreAny) {
  const TempFolder folder;
  const fs::path profile = folder / "p.json";
  ASSERT_EQ(vivace(tune(profile)).code, 0);
  const json measured = read_profile(profile)["tuning"]["measured"];
  // "int16 in float16": candidates are looked for in the dtype that was chosen first.
  std::string dtype;
  bool candidate = false;
  for (const auto& [name, result] : measured.items()) {
    candidate |= name.starts_with("int16 in ");
    if (const size_t in = name.find(" in "); in != std::string::npos) dtype = name.substr(in + 4);
  }
  ASSERT_FALSE(dtype.empty()) << json_text(measured);
  const Finished explain =
      vivace({"explain", "--model", tiny_model().string(), "--dtype", dtype, "--compile", "max-autotune", "--error-budget", "1e-3"});
  ASSERT_EQ(explain.code, 0) << explain.err;
  // Of linear layers or of convolutions: on a processor with products of bfloat16, float16 has them in the latter alone.
  bool chosen = false;
  for (size_t name = explain.out.find("by "); name != std::string::npos; name = explain.out.find("by ", name + 1)) {
    const size_t end = explain.out.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_", name + 3);
    chosen |= explain.out.substr(name + 3, end - name - 3).find("int16") != std::string::npos;
  }
  EXPECT_EQ(candidate, chosen) << json_text(measured);
}

TEST(Profile, SaysWhatErrorLayersMayHave) {
  const TempFolder folder;
  const fs::path profile = folder / "p.json";
  write_text(profile,
             R"({"format": "vivace-profile-1", "compile": {"mode": "max-autotune", "error_budget": 0.001, "layer_error_budgets": {"conv_in": 0}}})");
  EXPECT_EQ(load_profile(profile).compile.error_budget.each_layer, 1e-3);
  EXPECT_EQ(load_profile(profile).compile.error_budget.layers, (std::map<std::string, double>{{"conv_in", 0}}));
  write_text(profile, R"({"format": "vivace-profile-1", "compile": {"mode": "max-autotune"}})");
  EXPECT_FALSE(load_profile(profile).compile.error_budget.each_layer);
}

TEST(Tune, InterruptedLeavesAUsableProfile) {
  const TempFolder folder;
  const fs::path profile = folder / "profile.json";
  const Finished done = vivace(tune(profile), {.interrupt_at = "dtype float32"});
  EXPECT_EQ(done.code, 130) << done.err;
  EXPECT_NE(done.err.find("profile.json holds what was found so far"), std::string::npos) << done.err;
  EXPECT_LT(read_profile(profile)["tuning"]["measured"].size(), 5u);
  EXPECT_EQ(generate_tuned(folder / "x.png", {"--profile", profile.string()}).code, 0);
  EXPECT_EQ(vivace(tune(profile)).code, 0);
}

TEST(Profile, MayComeThroughAPipe) {
  const TempFolder folder;
  const Finished done =
      vivace(generate(folder / "x.png", {"--profile", "/dev/stdin"}), {.input = R"({"format": "vivace-profile-1", "compile": {}})"});
  EXPECT_EQ(done.code, 0) << done.err;
}

TEST(Profile, OfAnotherModelIsTold) {
  const TempFolder folder;
  const fs::path own = folder / "own.json", other = folder / "other.json";
  const auto tuned_for = [](const fs::path& file, const std::string& model) {
    const json asked{{"model", fs::weakly_canonical(model).string()}};
    write_text(file, json_text(json{{"format", "vivace-profile-1"}, {"compile", {{"mode", "default"}}}, {"tuning", {{"asked", asked}}}}));
  };
  tuned_for(own, tiny_model().string());
  tuned_for(other, "/elsewhere/sdxl");
  const auto said = [&](const fs::path& profile) {
    const Finished done = vivace({"generate", "x", "--model", tiny_model().string(), "--num-inference-steps", "1", "--profile", profile.string(),
                                  "-o", (folder / "x.npy").string()});
    EXPECT_EQ(done.code, 0) << done.err;
    return done.err;
  };
  EXPECT_EQ(said(own).find("was tuned for"), std::string::npos);
  EXPECT_NE(said(other).find("other.json was tuned for /elsewhere/sdxl"), std::string::npos);
}

TEST(Profile, ExportTakesOne) {
  const TempFolder folder;
  const fs::path profile = folder / "p.json", package = folder / "tiny.vivace";
  write_text(profile, R"({"format": "vivace-profile-1", "dtype": "bfloat16", "compile": {"mode": "default"}})");
  ASSERT_EQ(vivace({"export", tiny_model().string(), "-o", package.string(), "--profile", profile.string(), "-q"}).code, 0);
  EXPECT_EQ(read_profile(package / "package.json")["dtype"], "bfloat16");
  expect_refused(vivace({"export", "-o", "x", "--profile", profile.string(), "--dtype", "bf16"}), 2, {"--profile", "--dtype", "leave one"});
}

TEST(Profile, GenerateBenchAndSheetUseIt) {
  const TempFolder folder;
  const fs::path profile = folder / "p.json";
  write_text(profile, R"({"format": "vivace-profile-1", "dtype": "bfloat16", "compile": {"mode": "default", "sdpa": "math"}})");
  ASSERT_EQ(generate_tuned(folder / "a.npy", {"--profile", profile.string()}).code, 0);
  ASSERT_EQ(generate_tuned(folder / "b.npy", {"--dtype", "bf16", "--compile", "default", "--sdpa", "math"}).code, 0);
  ASSERT_EQ(generate_tuned(folder / "c.npy", {}).code, 0);
  EXPECT_EQ(read_text(folder / "a.npy"), read_text(folder / "b.npy"));
  EXPECT_NE(read_text(folder / "a.npy"), read_text(folder / "c.npy"));
  const std::string model = tiny_model().string();
  EXPECT_EQ(
      vivace({"sheet", "x", "--model", model, "--num-inference-steps", "2", "-q", "--profile", profile.string(), "-o", (folder / "s.png").string()})
          .code,
      0);
  const Finished bench =
      vivace({"bench", "--model", model, "--num-inference-steps", "2", "--runs", "1", "-q", "--reference", "--profile", profile.string()});
  EXPECT_EQ(bench.code, 0) << bench.err;
}

// A profile shows and measures what it draws with.
TEST(Profile, ToolsThatLookAtPlansTakeOne) {
  const TempFolder folder;
  const fs::path profile = folder / "p.json";
  write_text(profile, R"({"format": "vivace-profile-1", "dtype": "bfloat16", "compile": {"mode": "default", "sdpa": "math",
                          "quantize": {"int8-dynamic": ["mid_block.attentions.0.transformer_blocks.0.ff.net.2"]}}})");
  const auto shown = [&](std::vector<std::string> words, const std::vector<std::string>& more) {
    words.insert(words.end(), {"--model", tiny_model().string(), "--json"});
    words.insert(words.end(), more.begin(), more.end());
    const Finished done = vivace(words);
    EXPECT_EQ(done.code, 0) << done.err;
    return strict_json(done.out);
  };
  const std::vector<std::string> by_profile{"--profile", profile.string()};
  const std::vector<std::string> by_flags{
      "--dtype", "bf16",       "--compile",    "default",           "--sdpa",
      "math",    "--quantize", "int8-dynamic", "--quantize-filter", "name~mid_block.attentions.0.transformer_blocks.0.ff.net.2"};
  EXPECT_EQ(shown({"explain"}, by_profile)["step"], shown({"explain"}, by_flags)["step"]);
  EXPECT_NE(shown({"explain"}, by_profile)["step"], shown({"explain"}, {"--dtype", "bf16", "--compile", "default"})["step"]);
  EXPECT_EQ(shown({"profile", "--runs", "1"}, by_profile)["dtype"], "bfloat16");
  EXPECT_EQ(shown({"info"}, by_profile)["dtype"], "bfloat16");
  EXPECT_EQ(shown({"info"}, by_profile)["components"]["unet"]["constant_bytes"], shown({"info"}, by_flags)["components"]["unet"]["constant_bytes"]);
  for (const char* tool : {"explain", "profile", "info"})
    expect_refused(vivace({tool, "--profile", profile.string(), "--compile", "default"}), 2, {"--profile", "--compile", "leave one"});
  write_text(profile, R"({"format": "vivace-profile-1", "compile": {"mode": "default", "quantize": {"int8-dynamic": ["no.layer"]}}})");
  expect_refused(vivace({"explain", "--model", tiny_model().string(), "--profile", profile.string()}), 2, {"quantize", "no.layer"});
}

TEST(Profile, ConvolutionsWithoutABudgetAreNeverWinograd) {
  const TempFolder folder;
  const fs::path profile = folder / "p.json";
  json text{{"format", "vivace-profile-1"}, {"compile", {{"mode", "max-autotune"}}}};
  // The model in the repository: a tiny one's channels are too few for Winograd.
  const auto draw = [&](const char* picture) {
    write_text(profile, json_text(text));
    return vivace({"generate", "x", "--num-inference-steps", "1", "--seed", "3", "--threads", "1", "-q", "-o", (folder / picture).string(),
                   "--profile", profile.string(), "--autotune-seconds", "0"})
        .code;
  };
  ASSERT_EQ(draw("a.npy"), 0);
  const Finished explain = vivace({"explain", "--compile", "max-autotune", "--json"});
  const json plan = strict_json(explain.out);
  for (const json& step : plan["step"])
    if (step["kernel"].get<std::string>().find("winograd") != std::string::npos)
      text["compile"]["layer_error_budgets"][step["scope"].get<std::string>()] = 0;
  ASSERT_FALSE(text["compile"]["layer_error_budgets"].empty());
  ASSERT_EQ(draw("b.npy"), 0);
  EXPECT_NE(read_text(folder / "a.npy"), read_text(folder / "b.npy"));
  EXPECT_EQ(load_profile(profile).compile.error_budget.layers.size(), text["compile"]["layer_error_budgets"].size());
}

TEST(Profile, BadFiles) {
  const TempFolder folder;
  const fs::path profile = folder / "p.json";
  const auto refused = [&](const std::string& text, const std::vector<std::string>& names) {
    write_text(profile, text);
    expect_refused(generate_tuned(folder / "x.png", {"--profile", profile.string()}), 1, names);
    EXPECT_EQ(folder.files(), 1u);
  };
  expect_refused(generate_tuned(folder / "x.png", {"--profile", (folder / "none.json").string()}), 1, {"none.json"});
  refused("{", {"p.json"});
  refused("{}", {"p.json", "no profile of vivace tune"});
  refused(R"({"format": "vivace-profile-1"})", {"p.json", "compile"});
  refused(R"({"format": "vivace-profile-1", "dtype": "int3", "compile": {}})", {"p.json", "dtype", "int3"});
  refused(R"({"format": "vivace-profile-1", "compile": {"mode": "fastest"}})", {"p.json", "mode", "fastest"});
  refused(R"({"format": "vivace-profile-1", "compile": {"layer_error_budgets": 3}})", {"p.json", "layer_error_budgets"});
  write_text(profile, "{}");
  expect_refused(vivace(tune(profile)), 1, {"p.json", "no profile"});
  EXPECT_EQ(read_text(profile), "{}");
}

// However long what is asked for is, and wherever it differs.
TEST(Tune, GoesOnForTheSamePromptsAlone) {
  const TempFolder folder;
  const fs::path profile = folder / "p.json", prompts = folder / "prompts.txt";
  const std::vector<std::string> more{"--budget", "0.000001", "--prompts", prompts.string()};
  write_text(prompts, std::string(80, 'a') + " red apple\n");
  ASSERT_EQ(vivace(tune(profile, more)).code, 0);
  EXPECT_EQ(vivace(tune(profile, more)).code, 0);
  write_text(prompts, std::string(80, 'a') + " red pear\n");
  expect_refused(vivace(tune(profile, more)), 1, {"p.json was tuned with another prompts", "entry 3"});
}

TEST(Tune, BadUse) {
  const TempFolder folder;
  const fs::path profile = folder / "p.json";
  for (const char* bound : {"30", "PSNR<=30", "PSNR>=", "PSNR>=thirty", "SSIM>=2", "LPIPS<=0.1"})
    expect_refused(vivace(tune(profile, {"--max-drift", bound})), 2, {"--max-drift", bound});
  expect_refused(vivace({"tune", "x"}), 2, {"--max-drift"});
  expect_refused(vivace(tune(profile, {"--dtype", "bf16"})), 2, {"--dtype", "tune"});
  expect_refused(vivace(tune(profile, {"--budget", "-1"})), 2, {"--budget"});
  EXPECT_EQ(folder.files(), 0u);
  ASSERT_EQ(vivace(tune(profile, {"--budget", "0.000001"})).code, 0);
  expect_refused(vivace(tune(profile, {"--seed", "5"})), 1, {"p.json", "seed", "0", "5"});
  expect_refused(vivace(tune(profile, {"--clip-skip", "1"})), 1, {"p.json", "options", "--clip-skip"});
  expect_refused(generate_tuned(folder / "x.png", {"--profile", profile.string(), "--compile", "default"}), 2, {"--profile", "--compile"});
}

}  // namespace
}  // namespace vivace
