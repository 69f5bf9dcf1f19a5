// vivace export, and generate from what it wrote.
#include <nlohmann/json.hpp>

#include "program.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> generate(const fs::path& model, const fs::path& out, std::vector<std::string> more = {}) {
  std::vector<std::string> command{"generate", "a red apple", "--seed", "1", "--num-inference-steps", "2", "--quiet", "--model", model.string(), "-o", out.string()};
  command.insert(command.end(), more.begin(), more.end());
  return command;
}

TEST(Export, TheProgramRunsWhatItWrote) {
  const TempFolder folder;
  const std::string package = folder / "tiny.vivace";
  const Finished exported = vivace({"export", tiny_model().string(), "-o", package, "--compile", "default", "--size", "32x64"});
  ASSERT_EQ(exported.code, 0) << exported.err;
  EXPECT_EQ(folder.files(), 1u);
  const auto json = nlohmann::json::parse(read_text(fs::path(package) / "package.json"));
  EXPECT_EQ(json["sizes"], nlohmann::json::parse("[[32, 64]]"));
  const std::vector<std::string> wide{"--height", "32", "--width", "64"};
  ASSERT_EQ(vivace(generate(package, folder / "a.npy", wide)).code, 0);
  auto plain = wide;
  plain.insert(plain.end(), {"--compile", "default"});
  ASSERT_EQ(vivace(generate(tiny_model(), folder / "b.npy", plain)).code, 0);
  EXPECT_EQ(read_text(folder / "a.npy"), read_text(folder / "b.npy"));
  expect_refused(vivace(generate(package, folder / "c.npy")), 1, {"no plan of unet", "it has"});
  EXPECT_FALSE(fs::exists(folder / "c.npy"));
  expect_refused(vivace(generate(package, folder / "c.npy", {"--dtype", "bf16"})), 2, {"float32", "bfloat16"});
}

TEST(Export, BadUse) {
  const TempFolder folder;
  write_text(folder / "file", "mine");
  const std::string model = tiny_model().string();
  expect_refused(vivace({"export", model}), 2, {"--output"});
  expect_refused(vivace({"export", model, "-o", folder / "file"}), 1, {"no package"});
  expect_refused(vivace({"export", model, "-o", folder / "absent" / "x.vivace"}), 1, {"absent"});
  expect_refused(vivace({"export", model, "-o", folder / "x.vivace", "--size", "big"}), 2, {"--size", "1024x768"});
  expect_refused(vivace({"export", model, "-o", folder / "x.vivace", "--height", "33"}), 2, {"33"});
  expect_refused(vivace({"export", model, "-o", folder / "x.vivace", "--batch", "0"}), 2, {"batch"});
  expect_refused(vivace({"export", (folder / "nothing").string(), "-o", folder / "x.vivace"}), 1, {"nothing"});
  expect_refused(vivace({"export", model, "-o", folder / "x.vivace"}, {.file_size_limit = 20000}), 1, {"cannot write"});
  EXPECT_EQ(folder.files(), 1u) << "nothing is left behind";
  EXPECT_EQ(read_text(folder / "file"), "mine");
}

TEST(Export, CanBeInterrupted) {
  const TempFolder folder;
  const Finished done = vivace({"export", tiny_model().string(), "-o", folder / "x.vivace", "-v"}, {.interrupt_at = "writing text_encoder/config.json"});
  // The signal may come too late; what is there is then whole.
  EXPECT_TRUE(done.code == 0 || done.code == 130) << done.code << done.err;
  EXPECT_EQ(folder.files(), done.code == 0 ? 1u : 0u);
  EXPECT_EQ(fs::exists(folder / "x.vivace/package.json"), done.code == 0);
}

}  // namespace
}  // namespace vivace
