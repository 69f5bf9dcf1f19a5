// Wrong use: exit code 2, one line that names the option, nothing written.
#include "program.h"
#include "tensor/npy.h"

namespace vivace {
namespace {

TEST(BadUse, NoSubcommandAndUnknownOnes) {
  expect_refused(vivace({}), 2, {"subcommand"});
  expect_refused(vivace({"paint"}), 2, {"paint"});
  expect_refused(vivace({"generate", "x", "--no-such-option"}), 2, {"--no-such-option", "generate --help"});
  expect_refused(vivace({"generate"}), 2, {"prompt"});
  expect_refused(vivace({"generate", "x", "--seed", "seven"}), 2, {"--seed", "seven"});
  expect_refused(vivace({"generate", "x", "--height", "tall"}), 2, {"--height", "tall"});
  expect_refused(vivace({"info", "--threads", "-2"}), 2, {"--threads"});
}

TEST(BadUse, Sizes) {
  for (const char* size : {"0", "-8", "-2147483648", "30", "33", "1000000", "9223372036854775804"}) {
    expect_no_picture(tiny_model(), 2, {"height", size}, {"--height", size});
    expect_no_picture(tiny_model(), 2, {"width", size}, {"--width", size});
  }
  expect_no_picture(tiny_model(), 2, {"height"}, {"--height", "99999999999999999999"});
}

TEST(BadUse, Steps) {
  for (const char* steps : {"0", "-1", "1001", "2147483647"})
    expect_no_picture(tiny_model(), 2, {"num_inference_steps", steps}, {"--num-inference-steps", steps});
}

TEST(BadUse, NumbersOutOfRange) {
  expect_no_picture(tiny_model(), 2, {"--guidance-scale"}, {"--guidance-scale", "nan"});
  expect_no_picture(tiny_model(), 2, {"guidance_rescale"}, {"--guidance-rescale", "2"});
  expect_no_picture(tiny_model(), 2, {"denoising_end"}, {"--denoising-end", "1.5"});
  expect_no_picture(tiny_model(), 2, {"eta is 7: expected 0 to 1"}, {"--scheduler", "ddim", "--eta", "7"});
  expect_no_picture(tiny_model(), 2, {"num_images_per_prompt"}, {"--num-images-per-prompt", "0"});
  expect_no_picture(tiny_model(), 2, {"clip_skip"}, {"--clip-skip", "50"});
  expect_no_picture(tiny_model(), 2, {"clip_skip is 2147483647: expected 0 to "}, {"--clip-skip", "2147483647"});
  expect_no_picture(tiny_model(), 2, {"timesteps", "sigmas"}, {"--timesteps", "999,500", "--sigmas", "10,1,0"});
}

TEST(BadUse, TensorsWithoutADimension) {
  const TempFolder folder;
  const std::string picture = VIVACE_SOURCE_DIR "/tests/image/data/rgb_420.jpg", number = folder / "number.npy";
  save_npy(number, Tensor::full({}, 3));
  expect_no_picture(tiny_model(), 2, {"masked_image_latents has 0 entries"},
                    {"--image", picture, "--mask-image", picture, "--masked-image-latents", number});
  expect_no_picture(tiny_model(), 2, {"latents have shape []"}, {"--latents", number});
}

TEST(BadUse, OptionsThatNeedAnother) {
  const std::string picture = VIVACE_SOURCE_DIR "/tests/image/data/rgb_420.jpg";
  expect_no_picture(tiny_model(), 2, {"--mask-image needs --image"}, {"--mask-image", picture});
  expect_no_picture(tiny_model(), 2, {"--padding-mask-crop needs --mask-image"}, {"--image", picture, "--padding-mask-crop", "4"});
  expect_no_picture(tiny_model(), 2, {"--strength needs --image or --video"}, {"--strength", "0.5"});
  expect_no_picture(tiny_model(), 2, {"--denoising-start needs --image"}, {"--denoising-start", "0.5"});
  expect_no_picture(tiny_model(), 2, {"a StableDiffusionXLPipeline does not take control_image: ", "--controlnet"}, {"--control-image", picture});
}

TEST(BadUse, UnknownNames) {
  expect_no_picture(tiny_model(), 2, {"eulerr", "euler"}, {"--scheduler", "eulerr"});
  for (const char* fields : {"trailing", "[1]", "{\"a\": 1"})
    expect_no_picture(tiny_model(), 2, {"--scheduler-config"}, {"--scheduler-config", fields});
  expect_no_picture(tiny_model(), 2, {"EulerDiscreteScheduler has no karras, no solver_order: it has ", "use_karras_sigmas", "timestep_spacing"},
                    {"--scheduler-config", R"({"karras": true, "solver_order": 3, "timestep_spacing": "trailing"})"});
  expect_no_picture(tiny_model(), 2, {"--scheduler-config", "timestep_spacing", "trailing"},
                    {"--scheduler-config", R"({"timestep_spacing": "sideways"})"});
  expect_no_picture(tiny_model(), 2, {"fp33"}, {"--dtype", "fp33"});
  expect_no_picture(tiny_model(), 2, {"int8"}, {"--dtype", "int8"});
  expect_no_picture(tiny_model(), 2, {"tpu", "cpu"}, {"--device", "tpu"});
  expect_no_picture(tiny_model(), 2, {"fastest", "max-autotune"}, {"--compile", "fastest"});
  expect_no_picture(tiny_model(), 2, {"xformers", "flash"}, {"--sdpa", "xformers"});
  expect_no_picture(tiny_model(), 2, {"max_fusion", "epilogue_fusion"}, {"--compiler-flag", "max_fusion=true"});
  expect_no_picture(tiny_model(), 2, {"epilogue_fusion", "maybe", "true, false"}, {"--compiler-flag", "epilogue_fusion=maybe"});
  expect_no_picture(tiny_model(), 2, {"epilogue_fusion", "no value"}, {"--compiler-flag", "epilogue_fusion"});
  expect_no_picture(tiny_model(), 2, {"--autotune-seconds"}, {"--autotune-seconds", "-1"});
  expect_no_picture(tiny_model(), 2, {"--error-budget", "0 or more"}, {"--error-budget", "-1"});
  expect_no_picture(tiny_model(), 2, {"--error-budget", "LAYER"}, {"--error-budget", "=1"});
  expect_no_picture(tiny_model(), 2, {"vae.dec", "vae.decode"}, {"--compile", "default:unet,vae.dec"});
  expect_no_picture(tiny_model(), 2, {"--regional", "--compile"}, {"--regional"});
  expect_no_picture(tiny_model(), 2, {"--regional", "blocks of two"}, {"--compile", "default", "--regional=blocks of two"});
  expect_no_picture(tiny_model(), 2, {"no_such_pass"}, {"--compile", "default", "--disable-pass", "no_such_pass"});
  expect_refused(vivace({"explain", "--component", "vae"}), 2, {"vae", "vae.decode"});
  expect_refused(vivace({"make-random", "a", "b", "--max-shard-size", "huge"}), 2, {"huge"});
  const TempFolder folder;
  expect_refused(vivace({"make-random", tiny_model(), (folder / "out").string(), "--dtype", "int8"}), 2, {"int8", "bfloat16"});
  const std::string inside = (tiny_model() / "out").string();
  expect_refused(vivace({"make-random", tiny_model(), inside}), 2, {inside, "another folder"});
  EXPECT_FALSE(std::filesystem::exists(inside));
  expect_refused(vivace({"tokenize", "x", "--tokenizer", "3"}), 2, {"3", "1 or 2"});
}

// What would change nothing.
TEST(BadUse, OptionsWithoutTheirSwitch) {
  const auto refused = [](const std::string& needs, std::vector<std::string> options) {
    expect_no_picture(tiny_model(), 2, {options[0], "changes nothing without " + needs}, options);
  };
  refused("--compile max-autotune", {"--error-budget", "0"});
  refused("--compile max-autotune", {"--error-budget", "1e-3", "--compile", "default"});
  refused("--compile max-autotune", {"--autotune-seconds", "5", "--compile", "default"});
  refused("--compile max-autotune", {"--compiler-flag", "coordinate_descent_tuning=true", "--compile", "default"});
  refused("--compiler-flag coordinate_descent_tuning=true",
          {"--compiler-flag", "coordinate_descent_check_all_directions=true", "--compile", "max-autotune"});
  for (const std::vector<std::string>& options : std::vector<std::vector<std::string>>{{"--regional"},
                                                                                       {"--fullgraph"},
                                                                                       {"--disable-pass", "fuse_geglu"},
                                                                                       {"--compiler-flag", "epilogue_fusion=false"},
                                                                                       {"--compiler-flag", "conv_1x1_as_mm=true"}})
    refused("--compile with a mode other than off", options);
  refused("--dynamic", {"--no-duck-shape", "--compile", "default"});
  expect_refused(vivace({"info", "--model", tiny_model(), tiny_model()}), 2, {"--model", "leave one of them out"});
  expect_refused(vivace({"export", "--model", tiny_model(), tiny_model(), "-o", "x"}), 2, {"--model", "leave one of them out"});
  expect_refused(vivace({"info", tiny_model(), "-q", "-v"}), 2, {"--quiet", "--verbose"});
  refused("--quantize", {"--quantize-component", "unet"});
  expect_no_picture(tiny_model(), 2, {"--regional", "unet"}, {"--regional", "--compile", "default:vae"});
  const TempFolder folder;
  write_text(folder / "p.json", R"({"format": "vivace-profile-1", "compile": {"mode": "default"}})");
  refused("--compile max-autotune", {"--autotune-seconds", "5", "--profile", (folder / "p.json").string()});
}

TEST(BadUse, NamesThatTheModelDoesNotHave) {
  const auto refused = [](std::vector<std::string> more, int code, const std::vector<std::string>& names) {
    expect_no_picture(tiny_model(), code, names, std::move(more));
  };
  refused({"--compile", "max-autotune", "--error-budget", "mid_block.resnets.0.conv9=0"}, 2, {"error_budget", "mid_block.resnets.0.conv9"});
  refused({"--variant", "fp32"}, 1, {"variant", "\"fp32\""});
  const TempFolder folder;
  write_text(folder / "p.json", R"({"format": "vivace-profile-1", "compile": {"mode": "default", "quantize": {"int8-dynamic": ["no.layer"]}}})");
  refused({"--profile", (folder / "p.json").string()}, 2, {"quantize", "\"no.layer\""});
  ASSERT_EQ(vivace({"export", tiny_model().string(), "-o", (folder / "p").string()}).code, 0);
  expect_no_picture(folder / "p", 1, {"variant", "\"fp16\""}, {"--variant", "fp16"});
}

TEST(BadUse, Output) {
  const TempFolder folder;
  const auto generate = [&](const std::string& output) {
    return vivace({"generate", "x", "--model", tiny_model(), "--num-inference-steps", "1", "-q", "-o", output});
  };
  expect_refused(generate((folder / "x.bmp").string()), 2, {"x.bmp", ".png"});
  expect_refused(generate((folder / "no/such/x.png").string()), 1, {"no/such"});
  std::filesystem::create_directory(folder / "folder.png");
  expect_refused(generate((folder / "folder.png").string()), 1, {"folder.png"});
  EXPECT_EQ(folder.files(), 1u);
}

TEST(BadUse, FullDisk) {
  const TempFolder folder;
  const std::vector<std::string> arguments{
      "generate", "x", "--model", tiny_model(), "--num-inference-steps", "1", "-q", "-o", (folder / "x.npy").string()};
  expect_refused(vivace(arguments, {.file_size_limit = 1000}), 1, {"x.npy"});
  EXPECT_EQ(folder.files(), 0u);
  write_text(folder / "x.npy", "what was there before");
  expect_refused(vivace(arguments, {.file_size_limit = 1000}), 1, {"x.npy"});
  EXPECT_EQ(read_text(folder / "x.npy"), "what was there before");
  std::filesystem::remove(folder / "x.npy");
  std::filesystem::create_symlink("/dev/full", folder / "x.npy");
  expect_refused(vivace(arguments), 1, {"x.npy", "disk is full"});
  expect_refused(vivace({"make-random", VIVACE_SOURCE_DIR "/tests/pipelines/data/configs/sdxl_two_levels", (folder / "random").string(), "-q"},
                        {.file_size_limit = 1000}),
                 1, {"random"});
  EXPECT_FALSE(std::filesystem::exists(folder / "random"));
}

TEST(BadUse, StandardOutput) {
  expect_refused(vivace({"tokenize", "x"}, {.stdout_path = ""}), 1, {"standard output"});
  expect_refused(vivace({"tokenize", "x"}, {.stdout_path = "/dev/full"}), 1, {"standard output", "No space left"});
}

TEST(BadUse, ClosedStandardOutputDoesNotEndInThePicture) {
  const TempFolder folder;
  const Finished done = vivace({"generate", "x", "--model", tiny_model(), "--num-inference-steps", "1", "--json", "-o", (folder / "x.npy").string()},
                               {.stdout_path = ""});
  expect_refused(done, 1, {"standard output"});
  EXPECT_EQ(read_text(folder / "x.npy").size(), 128u + 32 * 32 * 3 * 4);
}

TEST(BadUse, AFileWithoutANameIsNone) {
  for (const char* option : {"--output", "--preview"})
    expect_refused(vivace({"generate", "x", "--model", tiny_model(), option, ""}), 2, {option, "is empty: expected the name of a file"});
}

TEST(BadUse, ASheetTooLargeIsRefusedBeforeItIsDrawn) {
  const TempFolder folder;
  std::string prompts;
  for (int i = 0; i < 520; ++i) prompts += "a dog\n";
  write_text(folder / "prompts", prompts);
  expect_refused(vivace({"sheet", "--from", (folder / "prompts").string(), "--model", tiny_model(), "--columns", "1000", "--padding", "1024", "-o",
                         (folder / "x.png").string(), "-q"}),
                 2, {"contact sheet of 520 pictures would have 550144 x 2080 pixels: at most 1073741824", "fewer pictures"});
  EXPECT_EQ(folder.files(), 1u);
}

TEST(Interrupt, EndsTheLoopWithoutAFile) {
  const TempFolder folder;
  const Finished done = vivace({"generate", "x", "--model", tiny_model(), "--num-inference-steps", "1000", "-o", (folder / "x.png").string()},
                               {.interrupt_at = "step 1/1000"});
  EXPECT_EQ(done.code, 130) << done.err;
  EXPECT_NE(done.err.find("interrupted"), std::string::npos) << done.err;
  EXPECT_EQ(done.err.find("1000/1000"), std::string::npos) << done.err;
  EXPECT_EQ(folder.files(), 0u);
}

TEST(Interrupt, MakeRandomLeavesNothing) {
  const TempFolder folder;
  const Finished done =
      vivace({"make-random", VIVACE_SOURCE_DIR "/assets/configs/sdxl-base", (folder / "sdxl").string(), "-v"}, {.interrupt_at = "text_encoder: "});
  EXPECT_EQ(done.code, 130) << done.err;
  EXPECT_EQ(folder.files(), 0u);
  // What was there is not taken away, and not called as it was.
  const Finished over =
      vivace({"make-random", VIVACE_SOURCE_DIR "/assets/configs/sdxl-base", folder.path().string(), "-v"}, {.interrupt_at = "text_encoder: "});
  EXPECT_EQ(over.code, 130) << over.err;
  EXPECT_NE(over.err.find(folder.path().string() + " holds old and new files"), std::string::npos) << over.err;
  EXPECT_TRUE(std::filesystem::exists(folder / "model_index.json"));
}

}  // namespace
}  // namespace vivace
