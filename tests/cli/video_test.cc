// The program with CogVideoX: videos written and interrupted; what looks at it, measures and compiles ahead.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "program.h"
#include "vivace/image.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kFullSizeVideo = VIVACE_SOURCE_DIR "/assets/configs/cogvideox-2b";

// A tiny CogVideoX of random weights; made once a process.
const fs::path& tiny_video_model() {
  static const TempFolder folder;
  static const fs::path model = [] {
    const fs::path source = VIVACE_SOURCE_DIR, configs = folder / "configs";
    fs::copy(source / "tests/video_pipelines/data/configs/5b", configs, fs::copy_options::recursive);
    fs::copy(source / "assets/emoji-flux/tokenizer_2", configs / "tokenizer");
    const Finished made = vivace({"make-random", configs.string(), (folder / "tiny").string(), "--quiet", "--threads", "1"});
    if (made.code != 0) ADD_FAILURE() << made.err;
    return folder / "tiny";
  }();
  return model;
}

std::vector<std::string> small(const std::string& command, std::vector<std::string> more) {
  std::vector<std::string> arguments{command,
                                     "a panda",
                                     "--model",
                                     tiny_video_model().string(),
                                     "--num-inference-steps",
                                     "2",
                                     "--num-frames",
                                     "9",
                                     "--height",
                                     "32",
                                     "--width",
                                     "48",
                                     "--max-sequence-length",
                                     "16",
                                     "--threads",
                                     "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

json json_told(const Finished& done) {
  EXPECT_EQ(done.code, 0) << done.err;
  return strict_json(done.out);
}

TEST(GenerateVideo, TellsFramesAndWritesAPreview) {
  const TempFolder folder;
  const Finished done = vivace({"generate",
                                "a panda",
                                "--model",
                                tiny_video_model().string(),
                                "--num-inference-steps",
                                "2",
                                "--num-frames",
                                "12",
                                "--height",
                                "32",
                                "--width",
                                "48",
                                "--max-sequence-length",
                                "16",
                                "--threads",
                                "1",
                                "--seed",
                                "3",
                                "--num-videos-per-prompt",
                                "2",
                                "--use-dynamic-cfg",
                                "--preview",
                                (folder / "first.png").string(),
                                "-o",
                                (folder / "x").string()});
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_NE(done.err.find("num_frames is 12: the VAE makes 9 frames of it; its numbers are 8 N + 1, the nearest is 9"), std::string::npos)
      << done.err;
  EXPECT_NE(done.err.find("frame 9/9"), std::string::npos) << done.err;
  const auto frame = [&](const char* video, const char* name) { return Image::load(folder / video / name).pixels(); };
  EXPECT_TRUE(fs::exists(folder / "x-1" / "frame_0009.png"));
  EXPECT_FALSE(fs::exists(folder / "x-1" / "frame_0010.png"));
  EXPECT_NE(frame("x-1", "frame_0001.png"), frame("x-2", "frame_0001.png"));
  EXPECT_EQ(Image::load(folder / "first.png").pixels(), frame("x-1", "frame_0001.png"));
}

TEST(GenerateVideo, AFullDiskLeavesNothing) {
  const TempFolder folder;
  for (const char* name : {"x.npy", "x.mp4", "x.gif", "x"}) {
    expect_refused(vivace(small("generate", {"-q", "-o", (folder / name).string()}), {.file_size_limit = 500}), 1, {name});
    EXPECT_EQ(folder.files(), 0u) << name;
  }
}

// As where FFmpeg's libraries are not installed: said before a model is loaded, and what needs none of them is made.
TEST(GenerateVideo, AMissingLibraryIsNamed) {
  const TempFolder libraries, folder;
  for (int version = 50; version < 80; ++version) write_text(libraries / ("libavcodec.so." + std::to_string(version)), "");
  const RunOptions without{.library_path = libraries.path()};
  const std::string clip = (folder / "clip.mp4").string();
  write_text(clip, "");
  for (const std::string name : {"x.mp4", "x.webm", "x.gif", "x.webp"})
    expect_refused(
        vivace(small("generate", {"-q", "-o", (folder / name).string()}), without), 1,
        {"cannot write " + (folder / name).string(), "libavcodec.so.", " is missing: install FFmpeg's libraries", ".npy or a folder of PNGs"});
  expect_refused(
      vivace({"generate", "a panda", "--model", tiny_video_model().string(), "--video", clip, "-q", "-o", (folder / "x.npy").string()}, without), 1,
      {"cannot read " + clip, "libavcodec.so.", " is missing: install FFmpeg's libraries", ".npy or a folder of pictures"});
  EXPECT_EQ(folder.files(), 1u) << "the clip";
  EXPECT_EQ(vivace(small("generate", {"-q", "-o", (folder / "x.npy").string()}), without).code, 0);
}

TEST(GenerateVideo, AVideoInDecidesThePipeline) {
  const TempFolder folder;
  const auto from = [&](const fs::path& model, const fs::path& video, std::vector<std::string> more) {
    std::vector<std::string> arguments{
        "generate", "a panda", "--model", model.string(), "--num-inference-steps", "3", "--height", "32", "--width", "48", "--threads", "1",
        "--seed",   "3",       "-q",      "--video",      video.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return vivace(arguments);
  };
  const fs::path clip = VIVACE_SOURCE_DIR "/tests/video_pipelines/data/clip", first = folder / "first.npy", again = folder / "again.npy";
  const std::vector<std::string> taken{"--strength", "0.7", "--max-sequence-length", "16", "-o"};
  const auto with = [&](const fs::path& output) {
    std::vector<std::string> all = taken;
    all.push_back(output.string());
    return all;
  };
  ASSERT_EQ(from(tiny_video_model(), clip, with(first)).code, 0);
  EXPECT_EQ(read_text(first).size(), 128u + 9 * 32 * 48 * 3 * 4);
  // What was made can be given.
  ASSERT_EQ(from(tiny_video_model(), first, with(again)).code, 0);
  EXPECT_NE(read_text(again), read_text(first));
  const std::string output = (folder / "x.png").string();
  expect_refused(from(tiny_model(), clip, {"-o", output}), 2, {"a StableDiffusionXLPipeline does not take video"});
  expect_refused(from(tiny_video_model(), clip, {"--num-frames", "9", "-o", (folder / "x").string()}), 2, {"does not take num_frames"});
  expect_refused(from(tiny_video_model(), folder / "none.mp4", {"-o", (folder / "x").string()}), 1, {"no video at ", "none.mp4"});
  EXPECT_EQ(folder.files(), 2u);
}

// Many frames of a size that takes the encoder a while.
TEST(GenerateVideo, InterruptedWhileEncodingLeavesNothing) {
  const TempFolder folder;
  for (const char* name : {"x.webm", "x"}) {
    const std::string output = (folder / name).string();
    const Finished done = vivace({"generate", "a panda", "--model", tiny_video_model().string(), "--num-inference-steps", "1", "--guidance-scale",
                                  "1", "--num-frames", "17", "--height", "160", "--width", "240", "--max-sequence-length", "16", "-o", output},
                                 {.interrupt_at = "frame 17/17"});
    EXPECT_EQ(done.code, 130) << done.err;
    EXPECT_NE(done.err.find("interrupted"), std::string::npos) << done.err;
    EXPECT_EQ(folder.files(), 0u) << name;
  }
}

TEST(GenerateVideo, InterruptedAtTheSecondItTellsOfTheFirst) {
  const TempFolder folder;
  const std::string output = (folder / "x.webm").string(), first = (folder / "x-1.webm").string(), preview = (folder / "first.png").string();
  const Finished done = vivace({"generate",
                                "a panda",
                                "--model",
                                tiny_video_model().string(),
                                "--num-inference-steps",
                                "1",
                                "--guidance-scale",
                                "1",
                                "--num-frames",
                                "17",
                                "--height",
                                "160",
                                "--width",
                                "240",
                                "--max-sequence-length",
                                "16",
                                "--num-videos-per-prompt",
                                "2",
                                "--preview",
                                preview,
                                "-o",
                                output},
                               {.interrupt_at = first + " (seed"});
  EXPECT_EQ(done.code, 130) << done.err;
  EXPECT_NE(done.err.find("vivace: interrupted; " + preview + ", " + first + " were written before\n"), std::string::npos) << done.err;
  EXPECT_EQ(folder.files(), 2u);
}

TEST(VideoTools, BenchTellsSecondsAFrameAndTheQualityOfEachFrame) {
  const TempFolder folder;
  const Finished done = vivace(small("bench", {"--ladder", "--runs", "1", "--seed", "5", "--json", (folder / "r.json").string()}));
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_NE(done.out.find("s a frame"), std::string::npos) << done.out;
  const json report = strict_json(read_text(folder / "r.json"));
  EXPECT_EQ(report["settings"]["num_frames"], 9);
  ASSERT_EQ(report["rungs"].size(), 8u);
  bool in_eight_bits = false;
  for (const json& rung : report["rungs"]) {
    EXPECT_FALSE(rung.contains("error")) << rung["name"] << ": " << rung["error"];
    EXPECT_EQ(rung["quality"].size(), &rung == &report["rungs"][0] ? 0u : 9u) << rung["name"];
    if (rung["name"].get<std::string>().find("int8") == std::string::npos) continue;
    in_eight_bits = true;
    // Of nine frames one is the worst, and the table shows it.
    double worst = 1e9;
    for (const json& q : rung["quality"]) worst = std::min(worst, q["psnr"].get<double>());
    char text[32];
    std::snprintf(text, sizeof text, "%.2f dB", worst);
    EXPECT_NE(done.out.find(text), std::string::npos) << text << " in\n" << done.out;
  }
  EXPECT_TRUE(in_eight_bits);
}

TEST(VideoTools, TuneKnowsItsParts) {
  const TempFolder folder;
  const Finished done = vivace(small("tune", {"--max-drift", "PSNR>=20", "-o", (folder / "p.json").string()}));
  ASSERT_EQ(done.code, 0) << done.err;
  std::string names;
  const json profile = strict_json(read_text(folder / "p.json"));
  for (const auto& [name, result] : profile["tuning"]["measured"].items()) names += name + '\n';
  EXPECT_NE(names.find("int8 transformer_blocks attn1 in "), std::string::npos) << names;
  EXPECT_NE(names.find("int8 transformer_blocks ff in "), std::string::npos) << names;
}

TEST(VideoTools, ExplainShowsEveryPart) {
  for (const char* component : {"transformer", "vae.decode", "text_encoder"}) {
    const json plan = json_told(vivace({"explain", "--component", component, "--model", kFullSizeVideo, "--dtype", "bf16", "--num-frames", "9",
                                        "--height", "240", "--width", "352", "--compile", "default", "--json"}));
    EXPECT_GT(plan["step"].size(), 100u) << component;
  }
  // 3 x 15 x 22 patches of 1920 channels and 226 tokens, 30 blocks: 24 products of width squared a token, and attention over all of them.
  const json plan = json_told(vivace({"explain", "--model", kFullSizeVideo, "--num-frames", "9", "--height", "240", "--width", "352", "--json"}));
  const double tokens = 3 * 15 * 22 + 226, products = 30 * (24. * 1920 * 1920 * tokens + 4. * 1920 * tokens * tokens);
  EXPECT_NEAR(plan["flops"].get<double>() / products, 1, 0.03);
}

// A VAE takes what its denoiser does not: 45 latents a row are no patches of 2.
TEST(VideoTools, TheVaeIsAskedAlone) {
  const json plan = json_told(vivace({"explain", "--component", "vae.decode", "--model", kFullSizeVideo, "--dtype", "bf16", "--num-frames", "9",
                                      "--height", "240", "--width", "360", "--compile", "default", "--json"}));
  // The last level: a 3x3x3 convolution of 128 channels for each of 9 frames of 240 x 360, eight times and one to RGB.
  const double last = 2. * 9 * 240 * 360 * 27 * 128 * (7 * 128 + 256 + 3);
  EXPECT_GT(plan["flops"].get<double>(), last);
  EXPECT_LT(plan["flops"].get<double>(), 5 * last);
  const json timed = json_told(vivace({"bench-component", "vae.decode", "--model", tiny_video_model().string(), "--num-frames", "9", "--height", "24",
                                       "--width", "40", "--runs", "1", "--json", "-q"}));
  EXPECT_EQ(timed["height"], 24);
  EXPECT_EQ(timed["width"], 40);
  EXPECT_GT(timed["arena_bytes"].get<int64_t>(), 9 * 24 * 40 * 3 * 4);
  const auto at = [](const char* component, const char* width) {
    return vivace({"explain", "--component", component, "--model", tiny_video_model().string(), "--height", "24", "--width", width});
  };
  EXPECT_EQ(at("vae.encode", "40").code, 0) << "which a call from a text alone does not take";
  expect_refused(at("vae.decode", "41"), 2, {"width is 41: expected a positive multiple of 8 (the VAE's scale) up to 32768; the nearest is 40"});
  expect_refused(at("transformer", "40"), 2, {"height is 24: expected a positive multiple of 16"});
  expect_refused(at("vae", "40"), 2, {"unknown component \"vae\"", "vae.decode, vae.encode"});
}

// 49 frames of 480 x 720 in 8 bits, with offload and tiles, are planned for less than 12 GB before anything is loaded.
TEST(VideoTools, FullSizeFitsIntoTwelveGigabytes) {
  const std::vector<std::string> call{"info",         kFullSizeVideo,      "--dtype", "bf16",        "--quantize",
                                      "int8-dynamic", "--quantize-filter", "all",     "--vae-tiling"};
  const json info = json_told(vivace([&] {
    std::vector<std::string> with = call;
    with.emplace_back("--json");
    return with;
  }()));
  EXPECT_EQ(info["components"]["transformer"]["parameters"], 1693783872);  // as Diffusers counts them
  const auto peak = info["bytes"]["peak"].get<int64_t>();
  EXPECT_LT(peak, 12'000'000'000);
  EXPECT_GT(peak, 4'762'310'656) << "T5, a byte a parameter";
  EXPECT_GT(info["bytes"]["peak_with_everything_kept"].get<int64_t>(), peak);
}

}  // namespace
}  // namespace vivace
