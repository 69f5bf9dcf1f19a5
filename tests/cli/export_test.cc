// vivace export, and generate from what it wrote.
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "program.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> generate_packaged(const fs::path& model, const fs::path& out, std::vector<std::string> more = {}) {
  std::vector<std::string> command{"generate", "a red apple",  "--seed", "1",         "--num-inference-steps", "2", "--quiet",
                                   "--model",  model.string(), "-o",     out.string()};
  command.insert(command.end(), more.begin(), more.end());
  return command;
}

TEST(Export, TheProgramRunsWhatItWrote) {
  const TempFolder folder;
  const std::string package = folder / "tiny.vivace";
  const Finished exported = vivace({"export", tiny_model().string(), "-o", package, "--compile", "default", "--size", "32x64"});
  ASSERT_EQ(exported.code, 0) << exported.err;
  EXPECT_EQ(folder.files(), 1u);
  const auto json = strict_json(read_text(fs::path(package) / "package.json"));
  EXPECT_EQ(json["sizes"], strict_json("[[32, 64]]"));
  const auto unet = strict_json(vivace({"info", package, "--json"}).out)["components"]["unet"];
  EXPECT_EQ(unet["file_bytes"], fs::file_size(fs::path(package) / "unet" / "weights.bin"));
  EXPECT_EQ(unet["files"], 1);
  const std::vector<std::string> wide{"--height", "32", "--width", "64"};
  ASSERT_EQ(vivace(generate_packaged(package, folder / "a.npy", wide)).code, 0);
  auto plain = wide;
  plain.insert(plain.end(), {"--compile", "default"});
  ASSERT_EQ(vivace(generate_packaged(tiny_model(), folder / "b.npy", plain)).code, 0);
  EXPECT_EQ(read_text(folder / "a.npy"), read_text(folder / "b.npy"));
  expect_refused(vivace(generate_packaged(package, folder / "c.npy")), 1, {"no plan of unet", "it has"});
  EXPECT_FALSE(fs::exists(folder / "c.npy"));
  expect_refused(vivace(generate_packaged(package, folder / "c.npy", {"--dtype", "bf16"})), 2, {"float32", "bfloat16"});
  const std::string narrow = folder / "narrow.vivace";
  const Finished as_json = vivace({"export", tiny_model().string(), "-o", narrow, "--dtype", "bf16", "--size", "32x64", "--json"});
  ASSERT_EQ(as_json.code, 0);
  EXPECT_EQ(strict_json(as_json.out)["files"], nlohmann::json{narrow});
  expect_refused(vivace(generate_packaged(narrow, folder / "c.npy", {"--dtype", "fp32", "--height", "32", "--width", "64"})), 2,
                 {"bfloat16", "--dtype fp32"});
}

TEST(Export, RegionalIsAsGenerateHasIt) {
  const TempFolder folder;
  const std::vector<std::string> regional{"--compile", "default", "--regional"};
  for (const char* name : {"regional", "whole"}) {
    std::vector<std::string> command{"export", tiny_model().string(), "-o", (folder / name).string(), "--compile", "default"};
    if (name == std::string("regional")) command.emplace_back("--regional");
    ASSERT_EQ(vivace(command).code, 0);
  }
  EXPECT_NE(read_text(folder / "regional" / "unet" / "plan-0.bin"), read_text(folder / "whole" / "unet" / "plan-0.bin"));
  ASSERT_EQ(vivace(generate_packaged(folder / "regional", folder / "a.npy")).code, 0);
  ASSERT_EQ(vivace(generate_packaged(tiny_model(), folder / "b.npy", regional)).code, 0);
  EXPECT_EQ(read_text(folder / "a.npy"), read_text(folder / "b.npy"));
}

// Two prompts, two pictures of one prompt, with clip_skip and without guidance: what --batch 2 promises.
TEST(Export, APackageServesTheCallsOfItsBatch) {
  const TempFolder folder;
  const fs::path package = folder / "tiny.vivace";
  ASSERT_EQ(vivace({"export", tiny_model().string(), "-o", package.string(), "--batch", "2"}).code, 0);
  for (const std::vector<std::string>& more : {std::vector<std::string>{"a rocket"},
                                               {"--num-images-per-prompt", "2"},
                                               {"a rocket", "--clip-skip", "1"},
                                               {"a rocket", "--guidance-scale", "1"},
                                               {"a rocket", "--negative-prompt", "blue"}}) {
    const Finished packaged = vivace(generate_packaged(package, folder / "a.npy", more));
    ASSERT_EQ(packaged.code, 0) << packaged.err;
    ASSERT_EQ(vivace(generate_packaged(tiny_model(), folder / "b.npy", more)).code, 0);
    for (const char* picture : {"1", "2"})
      EXPECT_EQ(read_text(folder / (std::string("a-") + picture + ".npy")), read_text(folder / (std::string("b-") + picture + ".npy"))) << more[0];
  }
}

// Of the classes that begin with a picture: the plans that encode it are there too.
TEST(Export, PackagesTakePictures) {
  const TempFolder folder;
  const fs::path model = copy_tiny(folder), package = folder / "tiny.vivace", picture = folder / "in.png";
  const std::string index = read_text(model / "model_index.json"), name = "StableDiffusionXLPipeline";
  ASSERT_EQ(vivace(generate_packaged(tiny_model(), picture)).code, 0);
  for (const auto& [class_name, more] : {std::pair<std::string, std::vector<std::string>>{"StableDiffusionXLImg2ImgPipeline", {}},
                                         {"StableDiffusionXLInpaintPipeline", {"--mask-image", picture}}}) {
    write_text(model / "model_index.json", std::string(index).replace(index.find(name), name.size(), class_name));
    const Finished exported = vivace({"export", model.string(), "-o", package.string(), "--compile", "default"});
    ASSERT_EQ(exported.code, 0) << exported.err;
    std::vector<std::string> from_picture{"--image", picture, "--strength", "0.9"};
    from_picture.insert(from_picture.end(), more.begin(), more.end());
    const Finished packaged = vivace(generate_packaged(package, folder / "a.npy", from_picture));
    ASSERT_EQ(packaged.code, 0) << packaged.err;
    from_picture.insert(from_picture.end(), {"--compile", "default"});
    ASSERT_EQ(vivace(generate_packaged(model, folder / "b.npy", from_picture)).code, 0);
    EXPECT_EQ(read_text(folder / "a.npy"), read_text(folder / "b.npy")) << class_name;
  }
}

// Each way in which a package can be wrong: one line that says which, and no picture.
TEST(Export, PackagesThatCannotRunAreRefused) {
  const TempFolder folder;
  const fs::path package = folder / "tiny.vivace", picture = folder / "picture.npy";
  // Of the unet's two plans the second one is for guidance.
  ASSERT_EQ(vivace({"export", tiny_model().string(), "-o", package.string(), "--quantize", "int8-weight-only"}).code, 0);
  const std::string json = read_text(package / "package.json"), plan = read_text(package / "unet/plan-1.bin"),
                    weights = read_text(package / "unet/weights.bin");
  const auto flipped = [](std::string bytes, size_t at) {
    bytes[at] ^= 4;
    return bytes;
  };
  const auto with_field = [&](const char* field, const nlohmann::json& value) {
    nlohmann::json changed = strict_json(json);
    changed[field] = value;
    return json_text(changed);
  };
  struct Damage {
    const char* file;
    std::string good, bad;
    std::vector<std::string> words;
  };
  const Damage damages[] = {
      {"package.json", json, with_field("format", 2), {"package.json", "format 2", "export it again"}},
      {"package.json", json, with_field("isa", "sse9"), {"package.json", "instruction set sse9", "this machine runs"}},
      {"package.json", json, with_field("packing", 99), {"package.json", "version 99", "export it again"}},
      {"package.json", json, json.substr(0, json.size() / 2), {"package.json"}},
      {"unet/plan-1.bin", plan, plan.substr(0, plan.size() / 2), {"plan-1.bin", "cut short"}},
      {"unet/plan-1.bin", plan, "", {"plan-1.bin"}},
      {"unet/plan-1.bin", plan, flipped(plan, 8), {"plan-1.bin", "of format"}},
      {"unet/plan-1.bin", plan, flipped(plan, plan.size() / 2), {"plan-1.bin", "damaged"}},
      {"unet/weights.bin", weights, weights.substr(0, weights.size() - 64), {"weights.bin", "cut short"}},
      {"unet/weights.bin", weights, flipped(weights, 8), {"weights.bin", "of format"}},
      {"unet/weights.bin", weights, flipped(weights, weights.size() / 2), {"weights.bin", "damaged"}},
  };
  for (const Damage& d : damages) {
    write_text(package / d.file, d.bad);
    expect_refused(vivace(generate_packaged(package, picture)), 1, d.words);
    write_text(package / d.file, d.good);
  }
  for (const std::vector<std::string>& more : {std::vector<std::string>{"--compile", "default"}, {"--dynamic"}, {"--quantize", "int8-dynamic"}})
    expect_refused(vivace(generate_packaged(package, picture, more)), 2, {"package", "compiled already"});
  EXPECT_FALSE(fs::exists(picture));
  EXPECT_EQ(vivace(generate_packaged(package, picture)).code, 0);
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
  const Finished done =
      vivace({"export", tiny_model().string(), "-o", folder / "x.vivace", "-v"}, {.interrupt_at = "writing text_encoder/config.json"});
  // The signal may come too late; what is there is then whole.
  EXPECT_TRUE(done.code == 0 || done.code == 130) << done.code << done.err;
  EXPECT_EQ(folder.files(), done.code == 0 ? 1u : 0u);
  EXPECT_EQ(fs::exists(folder / "x.vivace/package.json"), done.code == 0);
}

}  // namespace
}  // namespace vivace
