// Whole calls that begin with a picture against Diffusers in fp32, eager and compiled (tools/golden/picture_pipelines.py), and what is refused.
#include "../pipelines/golden_call.h"
#include "base/json.h"
#include "components/random_checkpoint.h"
#include "temp_folder.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = VIVACE_SOURCE_DIR;

void override_fields(const fs::path& file, const nlohmann::json& fields) {
  fs::create_directories(file.parent_path());
  nlohmann::json config = fs::exists(file) ? read_json(file) : nlohmann::json::object();
  config.update(fields);
  std::ofstream(file) << json_text(config);
}

fs::path checkpoint(const nlohmann::json& item, const fs::path& folder) {
  const std::string name = item.at("checkpoint");
  if (name.starts_with("assets/")) return kSource / name;
  const fs::path configs = folder / "configs", model = folder / "model";
  fs::copy(kSource / name, configs, fs::copy_options::recursive);
  if (item.contains("overrides"))
    for (const auto& [file, fields] : item.at("overrides").items()) override_fields(configs / file, fields);
  const auto index = read_json(configs / "model_index.json");
  const char* tokenizers = item.at("pipeline").get<std::string>().starts_with("Flux") ? "assets/emoji-flux" : "assets/emoji-xl";
  for (const char* part : {"tokenizer", "tokenizer_2"})
    if (index.contains(part) && !index.at(part).at(0).is_null()) fs::copy(kSource / tokenizers / part, configs / part);
  make_random_checkpoint(configs, model, {.seed = item.at("weights_seed").get<uint32_t>()});
  return model;
}

class PicturePipelines : public testing::TestWithParam<golden::Case> {
 protected:
  void check(CompileMode mode) {
    const auto& item = GetParam();
    const TempFolder folder;
    PretrainedOptions options;
    options.compile.mode = mode;
    options.pipeline_class = item.at("pipeline");
    const fs::path model = checkpoint(item, folder.path());
    options.controlnet.assign(item.value("controlnets", 0), model / "controlnet");  // without any: the checkpoint's own
    DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(model, options);
    ASSERT_EQ(pipe.class_name(), item.at("pipeline"));
    if (item.contains("scheduler"))
      pipe.set_scheduler(make_scheduler(item.at("scheduler").at("_class_name").get<std::string>(), json_text(item.at("scheduler"))));
    if (item.value("vae_tiling", false)) pipe.enable_vae_tiling();
    const nlohmann::json& call = item.at("call");
    CallOptions given = call_options(call);
    if (item.at("pipeline").get<std::string>().find("ControlNet") != std::string::npos) {
      // What Diffusers calls image in text to image. Several are one for each net.
      const ImageInput seen = given.control_image.empty() ? std::exchange(given.image, {}) : given.control_image.front();
      given.control_image = {seen};
      if (item.contains("controlnets")) given.control_image.assign(seen.images.begin(), seen.images.end());
    }
    const PipelineOutput out = pipe(prompts(call.at("prompt")), given);
    // As in tests/pipelines, and the encoder once more; embedded guidance (FLUX) amplifies nothing.
    const double guidance = item.at("pipeline").get<std::string>().starts_with("Flux") ? 1 : std::max(1.0, call.value("guidance_scale", 7.5));
    const double steps = static_cast<double>(out.timings.steps.size() + 1);
    const double tolerance = std::min(1e-3, 5 * std::sqrt(10.0 * 1000) * 0x1p-24 * guidance * std::sqrt(steps));
    const auto& outputs = item.at("outputs");
    EXPECT_LT(golden::relative_error(outputs.at("latents"), kData, out.latents), tolerance);
    if (!outputs.contains("images")) return;
    // Overlays are of 8 bits: a value between two of them may go to either, and resizing behind that moves its neighbours as far.
    const double rounding = call.contains("padding_mask_crop") ? 2. / 255 / outputs.at("images").at("rms").get<double>() : 0;
    EXPECT_LT(golden::relative_error(outputs.at("images"), kData, stack(out.images)), tolerance + rounding);
  }
};

TEST_P(PicturePipelines, EagerMatchesDiffusers) { check(CompileMode::off); }
TEST_P(PicturePipelines, CompiledMatchesDiffusers) { check(CompileMode::default_); }

std::vector<golden::Case> calls(bool of_pipelines) {
  std::vector<golden::Case> result = cases();
  std::erase_if(result, [&](const golden::Case& item) { return item.at("pipeline").get<std::string>().empty() == of_pipelines; });
  return result;
}

INSTANTIATE_TEST_SUITE_P(Golden, PicturePipelines, testing::ValuesIn(calls(true)),
                         [](const auto& info) { return info.param.at("name").template get<std::string>(); });

TEST(ControlNetModel, OnItsOwn) {
  for (const golden::Case& item : calls(false)) {
    const TempFolder folder;
    const auto net = ControlNetModel::from_pretrained(checkpoint(item, folder.path()) / "controlnet");
    const auto in = [&](const char* name) { return golden::make_input(item.at("inputs").at(name)); };
    const auto out = net(in("sample"), item.at("timestep"), in("encoder_hidden_states"), in("controlnet_cond"), item.at("conditioning_scale"),
                         {in("text_embeds"), in("time_ids")});
    const auto& outputs = item.at("outputs");
    ASSERT_EQ(out.down.size() + 1, outputs.size());
    const double tolerance = 5 * std::sqrt(10.0 * 1000) * 0x1p-24;  // as in tests/models
    for (size_t i = 0; i < out.down.size(); ++i)
      EXPECT_LT(golden::relative_error(outputs.at("down." + std::to_string(i)), kData, out.down[i]), tolerance) << i;
    EXPECT_LT(golden::relative_error(outputs.at("mid"), kData, out.mid), tolerance);
  }
}

const fs::path kEmoji = kSource / "assets/emoji-xl";

Image white(int height, int width) { return Image::from_tensor(Tensor::full({height, width, 3}, 1)); }

std::string refusal(const DiffusionPipeline& pipe, const CallOptions& options, const Prompts& prompt = "a red apple") {
  return message_of<UsageError>([&] { pipe(prompt, options); });
}

void expect_says(const std::string& message, std::initializer_list<const char*> words) {
  for (const char* word : words) EXPECT_NE(message.find(word), std::string::npos) << word << " in: " << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

TEST(PictureArguments, WhatDoesNotFitIsOneLine) {
  const auto pipe = StableDiffusionXLImg2ImgPipeline::from_pretrained(kEmoji);
  CallOptions o{.num_inference_steps = 2};
  expect_says(refusal(pipe, o), {"StableDiffusionXLImg2ImgPipeline", "begins with a picture"});
  o.image = white(64, 64);
  o.strength = 1.5;
  expect_says(refusal(pipe, o), {"strength is 1.5: expected 0 to 1"});
  o.strength = 0.3;
  expect_says(refusal(pipe, o), {"a strength of 0.3 leaves none of 2 steps"});
  o.strength.reset();
  o.height = 64;
  expect_says(refusal(pipe, o), {"does not take height and width"});
  o.height = 0;
  o.mask_image = white(64, 64);
  expect_says(refusal(pipe, o), {"does not take mask_image"});
  o.mask_image = {};
  o.image = std::vector{white(64, 64), white(64, 64)};
  expect_says(refusal(pipe, o), {"image has 2 entries for 1 image"});
  o.image = white(3, 64);
  expect_says(refusal(pipe, o), {"image has 64 x 3 pixels: expected at least"});
  o.image = Tensor::zeros({1, 3, 16, 16});
  expect_says(refusal(pipe, o), {"latents given as image have shape [1, 3, 16, 16]: expected [1, 4, 16, 16]"});
  o.image = white(64, 64);
  o.denoising_start = 0.6;
  o.denoising_end = 0.5;
  expect_says(refusal(pipe, o), {"denoising_start is 0.6 and denoising_end 0.5"});
}

TEST(PictureArguments, MasksAndCrops) {
  const auto pipe = StableDiffusionXLInpaintPipeline::from_pretrained(kEmoji);
  CallOptions o{.height = 64, .width = 64, .num_inference_steps = 2};
  o.image = white(64, 64);
  expect_says(refusal(pipe, o), {"StableDiffusionXLInpaintPipeline", "give it as mask_image"});
  o.mask_image = std::vector{white(64, 64), white(64, 64)};
  o.image = std::vector{white(64, 64), white(64, 64), white(64, 64)};
  o.num_images_per_prompt = 6;
  expect_says(refusal(pipe, o), {"image has 3 entries and mask_image 2"});
  o.num_images_per_prompt = 1;
  o.image = white(64, 64);
  o.mask_image = white(32, 64);
  o.padding_mask_crop = 4;
  expect_says(refusal(pipe, o), {"mask_image has 64 x 32 pixels and image 64 x 64"});
  o.mask_image = Image::from_tensor(Tensor::zeros({64, 64, 3}));
  expect_says(refusal(pipe, o), {"black everywhere"});
  o.mask_image = white(64, 64);
  o.output_latent = true;
  expect_says(refusal(pipe, o), {"padding_mask_crop", "gives no latents"});
}

// PNDM's schedule has a timestep more than steps: image to image begins with it, inpainting does not.
TEST(PictureArguments, InpaintingCountsSteps) {
  auto pipe = StableDiffusionXLInpaintPipeline::from_pretrained(kEmoji);
  pipe.set_scheduler(make_scheduler("pndm", pipe.scheduler().config(), R"({"skip_prk_steps": true})"));
  CallOptions o{.height = 64, .width = 64, .num_inference_steps = 4};
  o.image = o.mask_image = white(64, 64);
  o.strength = 0.2;
  expect_says(refusal(pipe, o), {"a strength of 0.2 leaves none of 4 steps"});
}

TEST(PictureArguments, TextToImageTakesNoPictures) {
  const auto pipe = StableDiffusionXLPipeline::from_pretrained(kEmoji);
  CallOptions o;
  o.image = white(64, 64);
  o.strength = 0.5;
  expect_says(
      refusal(pipe, o),
      {"a StableDiffusionXLPipeline does not take image, strength; a StableDiffusionXLImg2ImgPipeline, which the same parts make, takes image"});
}

TEST(PictureArguments, ControlNetsAreOfTheirModel) {
  const TempFolder folder;
  golden::Case item = calls(false).front();
  item["overrides"]["controlnet/config.json"]["cross_attention_dim"] = 48;
  const fs::path model = checkpoint(item, folder.path());
  expect_says(message_of<UserError>([&] { DiffusionPipeline::from_pretrained(model); }),
              {"controlnet has cross_attention_dim 48", "unet 80", "expected the ControlNet of that model"});
  PretrainedOptions options;
  options.controlnet = {model / "unet"};
  expect_says(message_of<UserError>([&] { DiffusionPipeline::from_pretrained(kEmoji, options); }),
              {"holds a UNet2DConditionModel, not a ControlNetModel"});
  expect_says(message_of<UserError>([&] { DiffusionPipeline::from_pretrained(kSource / "assets/emoji-flux", options); }), {"takes no ControlNets"});
}

TEST(PictureArguments, AControlNetNeedsItsPicture) {
  const TempFolder folder;
  const auto pipe = DiffusionPipeline::from_pretrained(checkpoint(calls(false).front(), folder.path()));
  EXPECT_EQ(pipe.class_name(), "StableDiffusionXLControlNetPipeline");
  CallOptions o{.height = 32, .width = 32, .num_inference_steps = 1};
  expect_says(refusal(pipe, o), {"control_image has 0 entries for 1 ControlNet"});
  o.control_image = {white(32, 32)};
  o.controlnet_conditioning_scale = {1, 1};
  expect_says(refusal(pipe, o), {"controlnet_conditioning_scale has 2 entries for 1"});
  o.controlnet_conditioning_scale.clear();
  o.control_guidance_start = {0.5};
  o.control_guidance_end = {0.5};
  expect_says(refusal(pipe, o), {"control_guidance_start is 0.5 and control_guidance_end 0.5"});
  o.control_image = {ImageInput(std::vector{white(32, 32), white(32, 32)})};
  expect_says(refusal(pipe, o), {"control_image has 2 pictures for 1 prompts"});
}

TEST(AutoPipeline, OpensTheSamePartsForATask) {
  EXPECT_EQ(AutoPipelineForImage2Image::from_pretrained(kEmoji).class_name(), "StableDiffusionXLImg2ImgPipeline");
  EXPECT_EQ(AutoPipelineForInpainting::from_pretrained(kEmoji).class_name(), "StableDiffusionXLInpaintPipeline");
  EXPECT_EQ(AutoPipelineForText2Image::from_pretrained(kEmoji).class_name(), "StableDiffusionXLPipeline");
  EXPECT_EQ(AutoPipelineForImage2Image::from_pretrained(kSource / "assets/emoji-flux").class_name(), "FluxImg2ImgPipeline");
  const std::string message = message_of<UserError>([] { FluxImg2ImgPipeline::from_pretrained(kEmoji); });
  expect_says(message, {"holds a StableDiffusionXLPipeline, not a FluxImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"});
}

// A mask of black keeps the picture's latents, whatever the steps do.
TEST(Inpainting, BlackIsKept) {
  const auto pipe = StableDiffusionXLInpaintPipeline::from_pretrained(kEmoji);
  CallOptions o{.height = 64, .width = 64, .num_inference_steps = 2, .seed = 1, .output_latent = true};
  o.image = Tensor(Generator(3).randn({1, 4, 8, 8}));
  o.mask_image = Image::from_tensor(Tensor::zeros({64, 64, 3}));
  const Tensor kept = pipe("a red apple", o).latents;
  for (int64_t i = 0; i < kept.numel(); ++i) ASSERT_EQ(kept.floats()[i], o.image.latents.floats()[i]) << i;
}

}  // namespace
}  // namespace vivace
