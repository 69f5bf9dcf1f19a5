// --quantize and its filters, and the quantize subcommand.
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/json.h"
#include "program.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

// The linears of the tiny model's unet plan that compute so.
int linears_of(const std::string& compute, std::vector<std::string> more) {
  std::vector<std::string> arguments{"explain", "--json", "--compile", "default", "--model", tiny_model().string()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Finished done = vivace(arguments);
  EXPECT_EQ(done.code, 0) << done.err;
  const auto plan = strict_json(done.out);
  int count = 0;
  for (const char* program : {"setup", "step"})
    for (const auto& step : plan[program]) count += step["attributes"].get<std::string>().find(compute) != std::string::npos;
  return count;
}
int int8_linears(std::vector<std::string> more) { return linears_of("int8_dynamic", std::move(more)); }

TEST(Quantize, ExplainShowsTheLayersChosen) {
  EXPECT_EQ(int8_linears({}), 0);
  const int all = int8_linears({"--quantize", "int8-dynamic", "--quantize-filter", "all"}),
            some = int8_linears({"--quantize", "int8-dynamic", "--quantize-filter", "name~attn1.to_out"});
  EXPECT_GT(some, 0);
  EXPECT_GT(all, some);
}

TEST(Quantize, Float8TakesAllLayersByItself) {
  const int all = int8_linears({"--quantize", "int8-dynamic", "--quantize-filter", "all"});
  EXPECT_EQ(linears_of("float8_dynamic", {"--quantize", "float8-dynamic"}), all);
  EXPECT_LT(linears_of("float8_dynamic", {"--quantize", "float8-dynamic", "--quantize-filter", "name~attn1"}), all);
}

TEST(Quantize, ExportedFilterIsTakenAgain) {
  const TempFolder folder;
  const std::string file = folder / "layers.txt";
  const int measured = int8_linears({"--quantize", "int8-dynamic", "--quantize-export", file});
  EXPECT_TRUE(read_text(file).starts_with("# int8-dynamic, filter measured\n"));
  EXPECT_EQ(int8_linears({"--quantize", "int8-dynamic", "--quantize-filter", file}), measured);
}

TEST(Quantize, FilterThatMatchesNothingWarns) {
  const Finished done = vivace({"explain", "--model", tiny_model().string(), "--quantize", "int8-dynamic", "--quantize-filter", "in>100000"});
  EXPECT_EQ(done.code, 0);
  EXPECT_NE(done.err.find("matches none of the"), std::string::npos) << done.err;
}

// A checkpoint that is written serves any machine, and nothing is measured.
TEST(Quantize, HelpSaysWhichLayersAreTheDefault) {
  const auto help = [](const char* command) {  // its lines are broken anywhere
    std::istringstream words(vivace({command, "--help"}).out);
    std::string text, word;
    while (words >> word) text += word + ' ';
    return text;
  };
  const std::string written = help("quantize"), loaded = help("generate");
  for (const char* text : {"(default: int8-dynamic)", "(default: all)"}) EXPECT_NE(written.find(text), std::string::npos) << written;
  EXPECT_NE(loaded.find("default: measured for"), std::string::npos) << loaded;
  EXPECT_EQ(written.find("default: measured"), std::string::npos) << written;
}

TEST(Quantize, WrongUseIsRefused) {
  const std::string model = tiny_model().string();
  const Finished rotated = vivace({"quantize", model, TempFolder() / "out", "--quantize", "int8-dynamic-rotated"});
  expect_refused(rotated, 2, {"as the model is loaded", "--quantize int8-dynamic-rotated"});
  expect_refused(vivace({"explain", "--model", model, "--quantize", "int4"}), 2, {"\"int4\"", "int8-dynamic", "float8-dynamic"});
  expect_refused(vivace({"explain", "--model", model, "--quantize", "int8-dynamic", "--quantize-filter", "width>5"}), 2, {"width>5", "in>=640"});
  expect_refused(vivace({"explain", "--model", model, "--quantize-filter", "all"}), 2, {"--quantize"});
  expect_refused(vivace({"explain", "--model", model, "--quantize-component", "unet"}), 2, {"--quantize-component", "without --quantize"});
  expect_refused(vivace({"quantize", model, TempFolder() / "out", "--quantize-component", "text_encoder_2"}), 2, {"--quantize-component"});
  expect_refused(vivace({"quantize", model, model}), 2, {"is the model itself"});
  expect_refused(vivace({"quantize", VIVACE_SOURCE_DIR "/assets/emoji-flux", TempFolder() / "out"}), 2,
                 {"has a transformer and no unet", "generate --quantize int8-dynamic"});
}

// Downloaded checkpoints are often links into another folder.
TEST(Quantize, LinksAreReadThrough) {
  const TempFolder folder;
  const fs::path model = copy_tiny(folder), elsewhere = folder / "blob";
  fs::rename(model / "vae/config.json", elsewhere);
  fs::create_symlink(elsewhere, model / "vae/config.json");
  const Finished done = vivace({"quantize", model.string(), (folder / "int8").string(), "--quiet"});
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(read_text(folder / "int8/vae/config.json"), read_text(elsewhere));
  // Whole components too.
  const fs::path linked = folder / "linked";
  fs::create_directory(linked);
  for (const auto& entry : fs::directory_iterator(tiny_model())) fs::create_symlink(entry.path(), linked / entry.path().filename());
  for (const char* command : {"quantize", "make-random"}) {
    const fs::path out = folder / command;
    ASSERT_EQ(vivace({command, linked.string(), out.string(), "--quiet"}).code, 0) << command;
    EXPECT_EQ(read_text(out / "tokenizer/vocab.json"), read_text(tiny_model() / "tokenizer/vocab.json")) << command;
  }
}

TEST(Quantize, TakesThePlaceOfShardsThatWereThere) {
  const TempFolder folder;
  const std::string out = folder / "out", picture = (folder / "x.png").string();
  ASSERT_EQ(vivace({"make-random", tiny_model().string(), out, "--max-shard-size", "200KB", "--quiet"}).code, 0);
  ASSERT_EQ(vivace({"quantize", tiny_model().string(), out, "--quiet"}).code, 0);
  const Finished done = vivace({"generate", "x", "--model", out, "--num-inference-steps", "1", "--quiet", "-o", picture});
  EXPECT_EQ(done.code, 0) << done.err;
}

TEST(Quantize, WrittenCheckpointDrawsAndIsNotQuantisedTwice) {
  const TempFolder folder;
  const std::string out = folder / "int8", again = folder / "again", loaded = folder / "loaded.npy", quantised = folder / "quantised.npy";
  const Finished made = vivace({"quantize", tiny_model().string(), out, "--json"});
  ASSERT_EQ(made.code, 0) << made.err;
  const auto figures = strict_json(made.out);
  EXPECT_EQ(figures["files"], nlohmann::json{out});
  EXPECT_GT(figures["layers"].get<int>(), 0);
  const std::vector<std::string> common{"generate", "a red apple", "--seed", "1", "--num-inference-steps", "2", "--quiet"};
  const auto draw = [&](std::vector<std::string> more) {
    more.insert(more.begin(), common.begin(), common.end());
    const Finished done = vivace(more);
    EXPECT_EQ(done.code, 0) << done.err;
  };
  draw({"--model", out, "-o", loaded});
  draw({"--model", tiny_model().string(), "--quantize", "int8-dynamic", "--quantize-filter", "all", "-o", quantised});
  EXPECT_EQ(read_text(loaded), read_text(quantised));
  expect_refused(vivace({"quantize", out, again}), 1, {"quantization_config", "already"});
  EXPECT_FALSE(fs::exists(again));
}

}  // namespace
}  // namespace vivace
