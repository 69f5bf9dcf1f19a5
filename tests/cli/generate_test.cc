// generate and sheet: what they write, and what they say.
#include <cstring>
#include <nlohmann/json.hpp>

#include "../pipelines/single_file.h"
#include "base/files.h"
#include "base/json.h"
#include "program.h"
#include "tensor/npy.h"
#include "vivace/generator.h"
#include "vivace/image.h"
#include "weights/safetensors.h"

namespace vivace {
namespace {

TEST(Generate, PngCarriesPromptSeedAndSettings) {
  const TempFolder folder;
  const std::string path = (folder / "x.png").string();
  const Finished done = vivace(generate(path, {"--negative-prompt", "blurry", "--height", "24", "--sdpa", "math"}));
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(done.out, "");
  EXPECT_NE(done.err.find("step 3/3"), std::string::npos) << done.err;
  EXPECT_NE(done.err.find("seed 7"), std::string::npos) << done.err;
  const Image image = Image::load(path);
  EXPECT_EQ(image.height(), 24);
  EXPECT_EQ(image.width(), 32);
  const std::string bytes = read_text(path);
  for (const char* text : {"a red apple", "blurry", "num_inference_steps=3", "guidance_scale=5", "scheduler=EulerDiscreteScheduler", "dtype=fp32",
                           "height=24", "sdpa=math"})
    EXPECT_NE(bytes.find(text), std::string::npos) << text;
  EXPECT_EQ(folder.files(), 1u);
}

// A prompt may have commas, and steps of its own leave their number without a meaning.
TEST(Generate, PngCarriesWhatWasTakenForEachPicture) {
  const TempFolder folder;
  const std::vector<std::string> more{"a panda",    "--prompt-2",  "one, two", "--prompt-2", "three", "--negative-prompt-2",
                                      "grey, dull", "--timesteps", "900,1"};
  ASSERT_EQ(vivace(generate((folder / "x.png").string(), more)).code, 0);
  const std::string first = read_text(folder / "x-1.png"), second = read_text(folder / "x-2.png");
  const auto chunk = [](const char* key, const char* text) { return std::string(key) + '\0' + text; };
  EXPECT_NE(first.find(chunk("prompt_2", "one, two")), std::string::npos);
  EXPECT_EQ(first.find("three"), std::string::npos);
  EXPECT_NE(second.find(chunk("prompt_2", "three")), std::string::npos);
  for (const std::string& bytes : {first, second}) {
    EXPECT_NE(bytes.find(chunk("negative_prompt_2", "grey, dull")), std::string::npos);
    EXPECT_NE(bytes.find("timesteps=900,1"), std::string::npos);
    EXPECT_EQ(bytes.find("num_inference_steps="), std::string::npos);
  }
}

// What says something of components is for those that the checkpoint has.
TEST(Generate, FluxTakesTheSameSwitches) {
  const TempFolder folder;
  const std::string path = (folder / "x.png").string();
  const Finished done = vivace({"generate",
                                "a red apple",
                                "--model",
                                VIVACE_SOURCE_DIR "/assets/emoji-flux",
                                "--height",
                                "128",
                                "--width",
                                "128",
                                "--num-inference-steps",
                                "2",
                                "--max-sequence-length",
                                "32",
                                "--seed",
                                "7",
                                "--threads",
                                "1",
                                "--compile",
                                "default",
                                "--regional=auto",
                                "--quantize",
                                "int8-dynamic",
                                "--quantize-filter",
                                "all",
                                "--quantize-component",
                                "transformer",
                                "--quantize-component",
                                "text_encoder_2",
                                "-o",
                                path});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(Image::load(path).width(), 128);
  expect_refused(vivace({"generate", "x", "--model", VIVACE_SOURCE_DIR "/assets/emoji-flux", "--quantize", "int8-dynamic", "--quantize-component",
                         "unet", "-o", path}),
                 2, {"--quantize-component", "unet"});
}

TEST(Generate, AModelInOneFileAndPartsFromElsewhere) {
  const TinyCheckpoint tiny("sd1");
  const std::string unet = tiny.write("unet.safetensors", {"unet"}).string(), configs = tiny.configs().string();
  const std::string text = tiny.write("text.safetensors", {"text_encoder"}).string(), vae = (tiny.model() / "vae").string();
  const auto draw = [&](const std::string& model, const std::string& output, const std::vector<std::string>& more) {
    std::vector<std::string> words{"generate",  "a red apple", "--model", model, "--num-inference-steps", "2", "--seed", "7",
                                   "--threads", "1",           "-o",      output};
    words.insert(words.end(), more.begin(), more.end());
    return vivace(words);
  };
  const std::string whole = (tiny / "whole.npy").string(), parts = (tiny / "parts.npy").string();
  EXPECT_EQ(draw(tiny.model().string(), whole, {}).code, 0);
  const Finished done = draw(unet, parts, {"--config", configs, "--vae", vae, "--text-encoder", text});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(read_text(parts), read_text(whole));
  expect_refused(draw(unet, parts, {"--config", configs}), 1, {"CLIPTextModel", "--text-encoder"});
  expect_refused(draw(tiny.model().string(), parts, {"--config", configs}), 2, {"config is for checkpoints in one file"});
  const Finished info = vivace({"info", "--model", unet, "--config", configs, "--vae", vae, "--text-encoder", text});
  EXPECT_EQ(info.code, 0) << info.err;
  EXPECT_NE(info.out.find("StableDiffusionPipeline"), std::string::npos);
  expect_refused(vivace({"quantize", unet, (tiny / "out").string()}), 2, {"quantize takes a checkpoint in a folder"});
  write_file(tiny / "model.ckpt", "PK\x03\x04");
  expect_refused(draw((tiny / "model.ckpt").string(), parts, {}), 1, {"a pickle", "can run code", "safetensors.torch.save_file"});
}

// What is given beside the prompt says which pipeline the checkpoint opens as.
TEST(Generate, PicturesInDecideThePipeline) {
  const TempFolder folder;
  const std::string path = (folder / "x.png").string(), data = VIVACE_SOURCE_DIR "/tests/picture_pipelines/data/";
  const std::string photo = VIVACE_SOURCE_DIR "/tests/image/data/rgb_420.jpg";  // 18 x 13
  const Finished from_photo = vivace(generate(path, {"--image", photo, "--strength", "0.7"}));
  EXPECT_EQ(from_photo.code, 0) << from_photo.err;
  EXPECT_NE(from_photo.err.find("step 2/2"), std::string::npos) << from_photo.err;
  const Image drawn = Image::load(path);
  EXPECT_EQ(std::pair(drawn.width(), drawn.height()), std::pair(16, 12));
  const Finished masked = vivace(generate(path, {"--image", data + "square.png", "--mask-image", data + "mask.png", "--mask-blur", "1.5",
                                                 "--padding-mask-crop", "4", "--strength", "0.7", "--vae-tiling"}));
  EXPECT_EQ(masked.code, 0) << masked.err;
  EXPECT_EQ(Image::load(path).pixels()[0], Image::load(data + "square.png").pixels()[0]) << "black is kept";
  expect_refused(vivace(generate(path, {"--mask-image", data + "mask.png"})), 2, {"--mask-image needs --image"});
  expect_refused(vivace(generate(path, {"--image", photo, "--strength", "0.1"})), 2, {"a strength of 0.1 leaves none of 3 steps"});
  expect_refused(vivace(generate(path, {"--image", photo, "--height", "32"})), 2, {"does not take height and width"});
  expect_refused(vivace(generate(path, {"--image", VIVACE_SOURCE_DIR "/README.md"})), 1, {"README.md: not a PNG or JPEG picture"});
}

TEST(Generate, NpyHasFloatsOfThePicture) {
  const TempFolder folder;
  EXPECT_EQ(vivace(generate((folder / "x.npy").string())).code, 0);
  const std::string bytes = read_text(folder / "x.npy");
  EXPECT_NE(bytes.find("'descr': '<f4'"), std::string::npos);
  EXPECT_NE(bytes.find("(32, 32, 3)"), std::string::npos);
  ASSERT_EQ(bytes.size() % 4, 0u);
  const size_t floats = 32 * 32 * 3, begin = bytes.size() - floats * 4;
  for (size_t i = 0; i < floats; ++i) {
    float x = 0;
    std::memcpy(&x, bytes.data() + begin + i * 4, 4);
    ASSERT_TRUE(x >= 0 && x <= 1) << x;
  }
}

// Latents go out and come in again: noise of one's own, a call in two halves, and numbers in place of pictures and texts.
TEST(Generate, NpyOfBytesIsNoPicture) {
  const TempFolder folder;
  for (const auto& [value, said] : {std::pair{255.F, "255"}, {-1.F, "-1"}}) {
    Tensor picture = Tensor::full({32, 32, 3}, 0.5F);
    picture.as<float>()[5] = value;
    save_npy(folder / "in.npy", picture);
    expect_refused(vivace(generate((folder / "x.png").string(), {"--image", (folder / "in.npy").string()})), 1, {"in.npy", said, "0 to 1"});
  }
}

TEST(Generate, TensorsGoInAndOutAsNpy) {
  const TempFolder folder;
  const auto draw = [&](const char* output, const std::vector<std::string>& more) {
    const Finished done = vivace(generate((folder / output).string(), more));
    EXPECT_EQ(done.code, 0) << done.err;
    return load_npy(folder / output);
  };
  const std::string half = (folder / "half.npy").string();
  const Tensor latents = draw("half.npy", {"--denoising-end", "0.5", "--output-type", "latent"});
  ASSERT_EQ(latents.rank(), 4);
  const Tensor straight = draw("straight.npy", {});
  const Tensor joined = draw("joined.npy", {"--image", half, "--denoising-start", "0.5"});
  ASSERT_EQ(joined.shape(), straight.shape());
  for (size_t i = 0; i < joined.floats().size(); ++i) ASSERT_NEAR(joined.floats()[i], straight.floats()[i], 1e-5) << i;

  Generator generator(7);
  save_npy(folder / "noise.npy", generator.randn(latents.shape()));
  const Tensor from_noise = draw("from_noise.npy", {"--latents", (folder / "noise.npy").string()});
  EXPECT_EQ(std::memcmp(from_noise.data(), straight.data(), straight.bytes()), 0);

  const std::string path = (folder / "x.npy").string();
  expect_refused(vivace(generate((folder / "x.png").string(), {"--output-type", "latent"})), 2, {"latents cannot be written", "expected .npy"});
  expect_refused(vivace(generate(path, {"--output-type", "np"})), 2, {"--output-type is \"np\"", "expected pil or latent"});
  expect_refused(vivace(generate(path, {"--latents", half, "--height", "64"})), 2, {"latents have shape"});
  expect_refused(vivace(generate(path, {"--latents", VIVACE_SOURCE_DIR "/README.md"})), 1, {"README.md: not a .npy file"});
  expect_refused(vivace(generate(path, {"--prompt-embeds", half})), 2, {"prompt and prompt_embeds are both given"});
  expect_refused(vivace({"generate", "x", "--model", tiny_model(), "--seed", "1,2", "-o", path}), 2, {"seeds has 2 entries for 1 images"});
}

TEST(Generate, SameSeedSameBytes) {
  const TempFolder folder;
  for (const char* name : {"a.png", "b.png"}) EXPECT_EQ(vivace(generate((folder / name).string(), {"-q"})).code, 0);
  EXPECT_EQ(read_text(folder / "a.png"), read_text(folder / "b.png"));
  EXPECT_EQ(vivace(generate((folder / "c.png").string(), {"-q", "--guidance-scale", "3"})).code, 0);
  EXPECT_NE(Image::load(folder / "a.png").pixels(), Image::load(folder / "c.png").pixels());
}

TEST(Generate, DrawsTheNoiseOfAGpu) {
  const TempFolder folder;
  const auto draw = [&](const char* name, std::vector<std::string> more) {
    more.insert(more.end(), {"-q", "--output-type", "latent"});
    EXPECT_EQ(vivace(generate((folder / name).string(), more)).code, 0);
    return load_npy(folder / name);
  };
  const Tensor gpu = draw("gpu.npy", {"--generator-device", "cuda"}), cpu = draw("cpu.npy", {"--generator-device", "cpu"});
  save_npy(folder / "noise.npy", Generator::cuda(7).randn(gpu.shape()));
  const Tensor given = draw("given.npy", {"--latents", (folder / "noise.npy").string()});
  EXPECT_EQ(std::memcmp(gpu.data(), given.data(), gpu.bytes()), 0);
  EXPECT_NE(std::memcmp(gpu.data(), cpu.data(), gpu.bytes()), 0);
  const std::string path = (folder / "x.png").string();
  EXPECT_EQ(vivace(generate(path, {"-q", "--generator-device", "cuda"})).code, 0);
  EXPECT_NE(read_text(path).find("generator_device=cuda"), std::string::npos) << "what it takes to draw it again";
  expect_refused(vivace(generate(path, {"--generator-device", "gpu"})), 2, {"--generator-device is gpu", "expected cpu or cuda"});
}

TEST(Generate, ARandomSeedIsToldAndDrawsTheSameAgain) {
  const TempFolder folder;
  const auto draw = [&](const char* name, std::vector<std::string> more) {
    std::vector<std::string> arguments{
        "generate", "x", "--model", tiny_model(), "--num-inference-steps", "2", "--json", "-o", (folder / name).string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return vivace(arguments);
  };
  const auto figures = strict_json(draw("a.png", {}).out);
  EXPECT_EQ(draw("b.png", {"--seed", std::to_string(figures["seeds"][0].get<uint64_t>())}).code, 0);
  EXPECT_EQ(Image::load(folder / "a.png").pixels(), Image::load(folder / "b.png").pixels());
}

TEST(Generate, JsonFigures) {
  const TempFolder folder;
  const Finished done = vivace(generate((folder / "x.png").string(), {"--json"}));
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(done.err, "");
  const auto figures = strict_json(done.out);
  EXPECT_EQ(figures["files"], nlohmann::json::array({(folder / "x.png").string()}));
  EXPECT_EQ(figures["seeds"][0], 7);
  EXPECT_EQ(figures["seconds"]["steps"].size(), 3u);
  EXPECT_EQ(figures["counters"]["steps_recorded"], 0) << "a CPU's step is no launch";
  EXPECT_GT(figures["seconds"]["total"].get<double>(), figures["seconds"]["decode"].get<double>());
  EXPECT_GT(figures["bytes"]["plans"]["unet"]["weights"].get<int64_t>(), 0);
  EXPECT_GT(figures["bytes"]["peak_resident"].get<int64_t>(), figures["bytes"]["plans"]["unet"]["activations"].get<int64_t>());
}

TEST(Generate, QuietAndVerbose) {
  const TempFolder folder;
  const Finished quiet = vivace(generate((folder / "x.png").string(), {"--quiet"}));
  EXPECT_EQ(quiet.out + quiet.err, "");
  const Finished verbose = vivace(generate((folder / "x.png").string(), {"-v"}));
  for (const char* text : {"loading", "prompt", "compiling", "preparing weights", "decoding", "activations (held)", "are held, measured peak"})
    EXPECT_NE(verbose.err.find(text), std::string::npos) << text << " in " << verbose.err;
}

TEST(Generate, SeveralPicturesAreNumbered) {
  const TempFolder folder;
  const Finished done = vivace(generate((folder / "x.png").string(), {"a dog", "--prompt", "a cat", "--num-images-per-prompt", "2",
                                                                      "--negative-prompt", "a", "--negative-prompt", "b", "--negative-prompt", "c"}));
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(folder.files(), 6u);
  EXPECT_NE(read_text(folder / "x-6.png").find("a cat"), std::string::npos);
  EXPECT_NE(read_text(folder / "x-3.png").find("a dog"), std::string::npos);
  EXPECT_NE(Image::load(folder / "x-1.png").pixels(), Image::load(folder / "x-2.png").pixels());
}

TEST(Generate, TakesEveryOptionOfThePipelineCall) {
  const TempFolder folder;
  for (const std::vector<std::string>& options : std::vector<std::vector<std::string>>{
           {"--scheduler", "ddim", "--eta", "0.5"},
           {"--scheduler", "DPMSolverMultistepScheduler", "--guidance-rescale", "0.7"},
           {"--timesteps", "999,500,20"},
           {"--sigmas", "10,3,1,0"},
           {"--denoising-end", "0.8", "--prompt-2", "a dog", "--negative-prompt-2", "x", "--clip-skip", "1"},
           {"--original-size", "64", "64", "--target-size", "32", "32", "--crops-coords-top-left", "1", "2", "--negative-original-size", "8", "8",
            "--negative-target-size", "8", "8", "--negative-crops-coords-top-left", "0", "0"},
           {"--guidance-scale", "0", "--dtype", "bf16", "--compile", "default"},
           {"--dtype", "fp16", "--compile", "max-autotune", "--autotune-seconds", "0", "--error-budget", "0", "--error-budget", "conv_in=1e-3"},
       }) {
    const Finished done = vivace(generate((folder / "x.png").string(), options));
    EXPECT_EQ(done.code, 0) << options[0] << ": " << done.err;
  }
}

TEST(Generate, AdaptersAreFilesWithMoreBehindAColon) {
  const TempFolder folder;
  const std::string lora = (folder / "style.safetensors").string(), tokens = (folder / "cat.safetensors").string();
  const auto write = [](const std::string& path, const std::vector<TensorSpec>& specs) {
    write_safetensors(path, specs, {}, [&](size_t i) { return Tensor::full(specs[i].shape, 0.25F); });
  };
  const std::string module = "unet.mid_block.attentions.0.proj_in.lora_";
  write(lora, {{module + "A.weight", DType::float32, {4, 64}}, {module + "B.weight", DType::float32, {64, 4}}});
  write(tokens, {{"emb_params", DType::float32, {1, 32}}});
  const auto draw = [&](const char* name, std::vector<std::string> more) {
    const Finished done = vivace(generate((folder / name).string(), std::move(more)));
    EXPECT_EQ(done.code, 0) << done.err;
    return Image::load(folder / name).pixels();
  };
  const auto plain = draw("plain.png", {}), once = draw("once.png", {"--lora", lora});
  EXPECT_NE(once, plain);
  EXPECT_EQ(draw("nothing.png", {"--lora", lora + ":0"}), plain);
  const auto halves = draw("halves.png", {"--lora", lora + ":0.5", "--lora", lora + ":0.5"});
  ASSERT_EQ(halves.size(), once.size());
  for (size_t i = 0; i < once.size(); ++i) EXPECT_NEAR(halves[i], once[i], 1) << "two sums round twice";
  EXPECT_NE(draw("token.png", {"--textual-inversion", tokens + ":red apple"}), plain);
  expect_refused(vivace(generate((folder / "x.png").string(), {"--lora", lora + ":much"})), 2, {"the weight of --lora", "much"});
  expect_refused(vivace(generate((folder / "x.png").string(), {"--lora", (folder / "gone.safetensors").string()})), 1,
                 {"gone.safetensors", "file not found"});
  const Finished mistaken =
      vivace(generate((folder / "x.png").string(), {"--textual-inversion", VIVACE_SOURCE_DIR "/assets/emoji-xl-cyanotype.safetensors"}));
  expect_refused(mistaken, 1, {"emoji-xl-cyanotype.safetensors", "it is an adapter, which --lora", " more\n"});
}

TEST(Generate, LongPromptsWarnWithWhatWasCut) {
  const TempFolder folder;
  std::string prompt;
  for (int i = 0; i < 90; ++i) prompt += "a ";
  const Finished done =
      vivace({"generate", prompt + "zebra", "--model", tiny_model(), "--num-inference-steps", "1", "-o", (folder / "x.png").string()});
  EXPECT_EQ(done.code, 0);
  EXPECT_NE(done.err.find("warning: "), std::string::npos);
  EXPECT_NE(done.err.find("zebra"), std::string::npos);
}

TEST(Sheet, HoldsThePicturesThatGenerateDraws) {
  const TempFolder folder;
  write_text(folder / "prompts.txt", "a cat\na bird\n");
  const Finished done = vivace({"sheet", "a dog", "--from", (folder / "prompts.txt").string(), "--model", tiny_model(), "--num-inference-steps", "2",
                                "--seed", "5", "--columns", "2", "--padding", "3", "-o", (folder / "sheet.png").string()});
  EXPECT_EQ(done.code, 0) << done.err;
  const Image sheet = Image::load(folder / "sheet.png");
  ASSERT_EQ(sheet.width(), 2 * 32 + 3 * 3);
  ASSERT_EQ(sheet.height(), 2 * 32 + 3 * 3);
  EXPECT_EQ(
      vivace({"generate", "a bird", "--model", tiny_model(), "--num-inference-steps", "2", "--seed", "7", "-q", "-o", (folder / "one.png").string()})
          .code,
      0);
  const auto whole = sheet.pixels(), one = Image::load(folder / "one.png").pixels();
  for (int y = 0; y < 32; ++y)
    EXPECT_EQ(std::memcmp(&whole[static_cast<size_t>((38 + y) * 73 + 3) * 3], &one[static_cast<size_t>(y) * 32 * 3], 32 * 3), 0) << "row " << y;
  expect_refused(vivace({"sheet", "-o", (folder / "y.png").string()}), 2, {"prompts"});
}

}  // namespace
}  // namespace vivace
