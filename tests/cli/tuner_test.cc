// The search of vivace tune with scripted times: what counts as a gain, and what is chosen.
#include "tune/tuner.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "components/models.h"
#include "program.h"
#include "tune/trial.h"
#include "vivace/error.h"
#include "vivace/profile.h"

namespace vivace::cli {
namespace {

TEST(MeasureInTurns, RunsBothInTurnsAndTakesTheFastest) {
  std::string order;
  std::vector<double> base{10, 12, 11}, setting{8, 9, 8.5};
  size_t b = 0, s = 0;
  const Measured m = measure_in_turns([&](bool with) {
    order += with ? 's' : 'b';
    return with ? setting[s++] : base[b++];
  });
  EXPECT_EQ(order, "bsbsbs");
  EXPECT_EQ(m.base_seconds, 10);
  EXPECT_EQ(m.seconds, 8);
  EXPECT_DOUBLE_EQ(m.noise, 0.2);  // the base's: 12 / 10
  EXPECT_FALSE(m.counts()) << "a gain of 20 % in a noise of 20 %";
}

TEST(MeasureInTurns, WhatIsSlowerTwiceIsNotRunAgain) {
  int runs = 0;
  const Measured m = measure_in_turns([&](bool with) {
    ++runs;
    return with ? 10.0 : 9.0;
  });
  EXPECT_EQ(runs, 4);
  EXPECT_FALSE(m.counts());
}

TEST(MeasureInTurns, AGainCountsAboveTheNoiseOfEitherSide) {
  const auto counts = [](std::vector<double> base, std::vector<double> setting) {
    size_t b = 0, s = 0;
    return measure_in_turns([&](bool with) { return with ? setting[s++] : base[b++]; }).counts();
  };
  EXPECT_TRUE(counts({10, 10.1, 10}, {9, 9.1, 9}));
  EXPECT_FALSE(counts({10, 10, 10}, {9, 9, 10}));
  EXPECT_FALSE(counts({11.2, 10, 10}, {9, 9, 9}));
  EXPECT_FALSE(counts({10, 10, 10}, {9.98, 9.98, 9.98})) << "less than any machine can tell";
}

// A world in which a setting's gain and drift are those of what it switches on, by name; what several have together may differ from the sum.
struct Script {
  std::map<std::string, double> gains;
  double together = 1;  // of the sum of gains
  double noise = 0.01;
  std::function<bool()> time_is_up = [] { return false; };
  std::function<void(const PretrainedOptions& setting)> on_measure = [](const PretrainedOptions&) {};
  std::vector<std::string> said;

  TuneResult run(const std::filesystem::path& profile, const std::string& bound = "PSNR>=20") {
    std::vector<Candidate> candidates;
    for (const auto& [name, gain] : gains) candidates.push_back({.name = name, .quantized = {name}});
    const TunerWorld world{
        .measure =
            [&](const PretrainedOptions& base, const PretrainedOptions& setting) {
              on_measure(setting);
              double gain = 0;
              for (const auto& [layer, kind] : setting.compile.quantize) gain += gains.at(layer);
              if (setting.compile.quantize.size() > 1) gain *= together;
              if (setting.dtype != base.dtype) gain -= 0.5;
              const double drift = 1e-4 * static_cast<double>(setting.compile.quantize.size());
              return Measured{.seconds = 10 * (1 - gain), .base_seconds = 10, .noise = noise, .drift = {-10 * std::log10(drift + 1e-9), 1, 0}};
            },
        .candidates = [=](const PretrainedOptions&) { return candidates; },
        .time_is_up = time_is_up,
        .say = [&](const std::string& line) { said.push_back(line); },
    };
    ProfileFile file(profile, nlohmann::json::object());
    return tune(world, file, DriftBound::parse(bound));
  }
};

using Names = std::vector<std::string>;

TEST(Tuner, TakesWhatGainsMoreThanNoise) {
  const TempFolder folder;
  Script script{.gains = {{"a", 0.1}, {"b", 0.005}, {"c", 0.05}, {"d", -0.1}}};
  EXPECT_EQ(script.run(folder / "p.json").chosen, (Names{"a", "c"}));
  EXPECT_EQ(load_profile(folder / "p.json").compile.quantize.size(), 2u);
}

TEST(Tuner, OnANoisyMachineThePlainSettingIsTheAnswer) {
  const TempFolder folder;
  Script script{.gains = {{"a", 0.1}, {"b", 0.1}, {"c", 0.1}}, .noise = 0.15};
  EXPECT_EQ(script.run(folder / "p.json").chosen, Names{});
  const PretrainedOptions profile = load_profile(folder / "p.json");
  EXPECT_TRUE(profile.compile.quantize.empty());
  EXPECT_EQ(profile.compile.mode, CompileMode::default_);
  EXPECT_EQ(profile.dtype, float32);
}

TEST(Tuner, TheWholeCountsOnlyWhereItGainsToo) {
  const TempFolder folder;
  // What gained alone loses together, be it two of them or all.
  Script script{.gains = {{"a", 0.1}, {"b", 0.08}, {"c", 0.06}, {"d", 0.04}}, .together = -0.5};
  EXPECT_EQ(script.run(folder / "p.json").chosen, Names{"a"});
  EXPECT_NE(std::ranges::find_if(script.said, [](const std::string& line) { return line.starts_with("4 together"); }), script.said.end());
  // When it is measured again, nothing of it is left: what a single one seemed to gain is forgotten.
  script.gains = {{"a", 0.1}};
  int runs = 0;
  const TunerWorld world{
      .measure =
          [&](const PretrainedOptions&, const PretrainedOptions& setting) {
            const bool first = !setting.compile.quantize.empty() && runs++ == 0;
            return Measured{.seconds = first ? 9.0 : 11.5, .base_seconds = 10, .noise = 0.01, .drift = {60, 1, 0}};
          },
      .candidates = [](const PretrainedOptions&) { return std::vector<Candidate>{{.name = "a", .quantized = {"a"}}}; },
      .time_is_up = [] { return false; },
      .say = [](const std::string&) {},
  };
  ProfileFile file(folder / "q.json", nlohmann::json::object());
  EXPECT_EQ(tune(world, file, DriftBound::parse("PSNR>=40")).chosen, Names{});
  EXPECT_EQ(runs, 2);
  EXPECT_TRUE(load_profile(folder / "q.json").compile.quantize.empty());
}

TEST(Tuner, TheBoundOnDriftHolds) {
  const TempFolder folder;
  Script script{.gains = {{"a", 0.1}, {"b", 0.09}, {"c", 0.08}, {"d", 0.07}}};
  // 1e-4 of squared error a layer: 37 dB is two of them.
  EXPECT_EQ(script.run(folder / "p.json", "PSNR>=36.9").chosen, (Names{"a", "b"}));
}

TEST(Tuner, WhatDrawsNothingIsLeftOut) {
  const TempFolder folder;
  Script script{.gains = {{"a", 0.1}, {"b", 0.08}}};
  script.on_measure = [](const PretrainedOptions& setting) {
    if (setting.dtype == float16 || setting.compile.quantize.contains("b")) throw UserError("the unet gave a NaN");
  };
  EXPECT_EQ(script.run(folder / "p.json").chosen, Names{"a"});
  for (const char* line : {"dtype float16 is left out: the unet gave a NaN", "b in float32 is left out: the unet gave a NaN"})
    EXPECT_EQ(std::ranges::count(script.said, line), 1) << line;
  script.on_measure = [](const PretrainedOptions&) { throw UserError("no memory"); };
  EXPECT_THROW(script.run(folder / "q.json"), UserError) << "plain float32 has to be drawn";
}

TEST(Tuner, AfterItsTimeNothingIsMeasured) {
  const TempFolder folder;
  Script script{.gains = {{"a", 0.08}, {"b", 0.1}}};
  int measured = 0;
  script.on_measure = [&](const PretrainedOptions&) { ++measured; };
  script.time_is_up = [&] { return measured == 5; };  // three dtypes, two candidates
  EXPECT_EQ(script.run(folder / "p.json").chosen, Names{"b"}) << "the best single one";
  EXPECT_EQ(measured, 5);
}

TEST(Trial, DecodesInTilesWhereThatIsAskedFor) {
  PictureOptions options;
  options.model = tiny_model().string();
  const auto tiles = [&](bool asked) {
    options.vae_tiling = asked;
    Trial trial(options, {"x"}, 0);
    return dynamic_cast<const AutoencoderComponent&>(trial.pipeline({}).vae().component()).decode_requests(1, 20, 20).size();
  };
  EXPECT_EQ(tiles(false), 1u);
  EXPECT_GT(tiles(true), 1u);
}

}  // namespace
}  // namespace vivace::cli
