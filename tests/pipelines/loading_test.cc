// Checkpoints stored in other ways than the repository's, and what a pipeline takes from their configs.
#include <gtest/gtest.h>

#include "../temp_folder.h"
#include "base/json.h"
#include "base/log.h"
#include "checkpoint.h"
#include "vivace/error.h"
#include "vivace/vivace.h"
#include "weights/safetensors.h"
#include "weights/weight_map.h"

namespace vivace {
namespace {

const fs::path kTextEncoder = fs::path(VIVACE_SOURCE_DIR) / "assets/emoji-xl/text_encoder";

// A copy of the text encoder whose tensors have the names that `rename` gives them, with `extra` ones of one element beside them.
void copy_text_encoder(const fs::path& to, const std::function<std::string(const std::string&)>& rename, const std::vector<std::string>& extra) {
  fs::create_directories(to);
  fs::copy_file(kTextEncoder / "config.json", to / "config.json");
  const WeightMap weights = WeightMap::open(kTextEncoder);
  std::vector<TensorSpec> specs;
  std::vector<Tensor> tensors;
  for (const WeightInfo& w : weights.weights()) {
    specs.push_back({rename(w.name), w.dtype, w.shape});
    tensors.push_back(weights.tensor(w.name));
  }
  for (const std::string& name : extra) {
    specs.push_back({name, DType::float32, {1}});
    tensors.push_back(Tensor::zeros({1}));
  }
  write_safetensors(to / "model.safetensors", specs, {}, [&](size_t i) { return tensors[i]; });
}

Tensor token_ids(const std::vector<int32_t>& ids) { return Tensor::from({1, static_cast<int64_t>(ids.size())}, std::span<const int32_t>(ids)); }

TEST(Loading, TextEncodersAsTransformersStoresThem) {
  const TempFolder folder;
  const auto same = [](const std::string& name) { return name; };
  copy_text_encoder(folder / "bare", [](const std::string& name) { return name.substr(std::string("text_model.").size()); }, {});
  copy_text_encoder(folder / "whole", same,
                    {"logit_scale", "vision_model.post_layernorm.weight", "visual_projection.weight", "text_projection.weight"});
  const Tensor ids = token_ids({0, 5, 9, 2});
  const ModelOptions options{.cache = {.enabled = false}};
  const Tensor want = CLIPTextModel::from_pretrained(kTextEncoder, options)(ids).last_hidden_state;
  for (const char* name : {"bare", "whole"}) {
    const Tensor got = CLIPTextModel::from_pretrained(folder / name, options)(ids).last_hidden_state;
    for (int64_t i = 0; i < want.numel(); ++i) ASSERT_EQ(got.floats()[i], want.floats()[i]) << name;
  }
}

// The warnings that `call` gives.
std::string warnings_of(const std::function<void()>& call) {
  std::string text;
  set_log_sink([&](LogLevel level, const std::string& message) {
    if (level == LogLevel::warning) text += message + '\n';
  });
  const std::shared_ptr<void> restore(nullptr, [](void*) { set_log_sink(nullptr); });
  call();
  return text;
}

TEST(Loading, UnexpectedTensorsAreWarnedOfAtEveryStart) {
  const TempFolder folder;
  const auto same = [](const std::string& name) { return name; };
  copy_text_encoder(folder / "more", same, {"text_model.adapter.to_k_ip.weight"});
  const ModelOptions options{.cache = {.folder = (folder / "cache").string()}};
  const Tensor ids = token_ids({0, 5, 9, 2});
  const Tensor want = CLIPTextModel::from_pretrained(kTextEncoder, options)(ids).last_hidden_state;
  for (int start = 0; start < 2; ++start) {
    Tensor got;
    const std::string warnings = warnings_of([&] { got = CLIPTextModel::from_pretrained(folder / "more", options)(ids).last_hidden_state; });
    EXPECT_NE(warnings.find("1 tensors are not used"), std::string::npos) << warnings;
    EXPECT_NE(warnings.find("text_model.adapter.to_k_ip.weight"), std::string::npos) << warnings;
    for (int64_t i = 0; i < want.numel(); ++i) ASSERT_EQ(got.floats()[i], want.floats()[i]);
  }
}

// Clip skip made permanent: the config has a layer less than the file.
TEST(Loading, TextEncoderWithFewerLayersThanItsFile) {
  const TempFolder folder;
  copy_text_encoder(folder / "short", [](const std::string& name) { return name; }, {});
  override_fields(folder / "short/config.json", {{"num_hidden_layers", 1}});
  const ModelOptions options{.cache = {.enabled = false}};
  const Tensor ids = token_ids({0, 5, 9, 2});
  const Tensor want = CLIPTextModel::from_pretrained(kTextEncoder, options)(ids, 1).hidden_state;  // of 2 layers
  Tensor got;
  const std::string warnings = warnings_of([&] { got = CLIPTextModel::from_pretrained(folder / "short", options)(ids, 0).hidden_state; });
  EXPECT_NE(warnings.find("text_model.encoder.layers.1."), std::string::npos) << warnings;
  for (int64_t i = 0; i < want.numel(); ++i) ASSERT_EQ(got.floats()[i], want.floats()[i]);
}

// A checkpoint whose parts do not fit one another; the message that loading it gives.
struct Misfit {
  const char* configs;
  nlohmann::json overrides;  // of the configs
  nlohmann::json after;      // of the checkpoint made of them
  std::vector<std::string> told;
};

TEST(Loading, PartsThatDoNotFitAreRefusedByName) {
  const Misfit misfits[] = {
      {"sdxl_two_levels", {}, {{"tokenizer_2/tokenizer_config.json", {{"model_max_length", 20}}}}, {"/tokenizer ", "/tokenizer_2 ", "77", "20"}},
      {"sdxl_two_levels", {}, {{"tokenizer/tokenizer_config.json", {{"model_max_length", 248}}}}, {"/tokenizer ", "/text_encoder ", "248", "77"}},
      {"sdxl_two_levels", {{"unet/config.json", {{"in_channels", 9}}}}, {}, {"/unet ", "/vae ", "9 channels", "inpainting"}},
      {"sd1", {{"unet/config.json", {{"in_channels", 8}}}}, {}, {"/unet ", "/vae ", "InstructPix2Pix"}},
      {"sd1", {{"unet/config.json", {{"out_channels", 8}}}}, {}, {"/unet ", "/vae ", "out_channels"}},
      {"sd1", {{"vae/config.json", {{"out_channels", 4}}}}, {}, {"/vae ", "expected 3"}},
      {"sd1", {{"unet/config.json", {{"cross_attention_dim", 48}}}}, {}, {"/text_encoder ", "/unet ", "48"}},
      {"sdxl_two_levels",
       {{"model_index.json", {{"_class_name", "StableDiffusionPipeline"}}}, {"unet/config.json", {{"cross_attention_dim", 32}}}},
       {},
       {"/unet ", "text_time"}},
      {"sdxl_two_levels", {{"unet/config.json", {{"addition_embed_type", nullptr}}}}, {}, {"/unet ", "addition_embed_type"}},
      {"sdxl_two_levels", {{"text_encoder_2/config.json", {{"projection_dim", 48}}}}, {}, {"/text_encoder_2 ", "/unet ", "48"}},
  };
  for (const Misfit& misfit : misfits) {
    const TempFolder folder;
    nlohmann::json item{{"checkpoint", std::string("configs/") + misfit.configs}, {"weights_seed", 0}};
    if (!misfit.overrides.is_null()) item["overrides"] = misfit.overrides;
    const fs::path model = checkpoint(item, folder.path());
    if (!misfit.after.is_null())
      for (const auto& [file, fields] : misfit.after.items()) override_fields(model / file, fields);
    const std::string message = message_of<UserError>([&] { DiffusionPipeline::from_pretrained(model, {.cache = {.enabled = false}}); });
    for (const std::string& word : misfit.told) EXPECT_NE(message.find(word), std::string::npos) << word << " in: " << message;
  }
}

TEST(Loading, ASchedulerThatIsNotSupportedCanBeReplaced) {
  const TempFolder folder;
  const nlohmann::json overrides{{"model_index.json", {{"scheduler", {"diffusers", "IPNDMScheduler"}}}}};
  const fs::path model = checkpoint({{"checkpoint", "configs/sd1"}, {"overrides", overrides}, {"weights_seed", 0}}, folder.path());
  const std::string message = message_of<UserError>([&] { DiffusionPipeline::from_pretrained(model, {.cache = {.enabled = false}}); });
  for (const char* word : {"scheduler/scheduler_config.json", "IPNDMScheduler", "--scheduler"})
    EXPECT_NE(message.find(word), std::string::npos) << message;
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(model, {.cache = {.enabled = false}, .scheduler = "euler"});
  EXPECT_EQ(pipe.scheduler().class_name(), "EulerDiscreteScheduler");
  EXPECT_NE(pipe.scheduler().config().find("\"beta_start\": 0.00085"), std::string::npos) << "the checkpoint's: " << pipe.scheduler().config();
}

TEST(Loading, TokensBeyondTheVocabularyAreRefused) {
  CLIPTextModel text = CLIPTextModel::from_pretrained(kTextEncoder, {.cache = {.enabled = false}});
  for (int32_t id : {-1, 1'000'000}) EXPECT_THROW(text(token_ids({id})), UsageError) << id;
}

TEST(Loading, DefaultSizesOfStableDiffusion) {
  const auto size_of = [](const char* fields) {
    const TempFolder folder;
    const nlohmann::json overrides{{"unet/config.json", strict_json(fields)}};
    const fs::path model = checkpoint({{"checkpoint", "configs/sd1"}, {"overrides", overrides}, {"weights_seed", 0}}, folder.path());
    return StableDiffusionPipeline::from_pretrained(model, {.cache = {.enabled = false}}).default_size();
  };
  // Its VAE makes 4 pixels of one.
  EXPECT_EQ(size_of(R"({"sample_size": 8})"), (Size{32, 32}));
  EXPECT_EQ(size_of(R"({"sample_size": [8, 12]})"), (Size{32, 48}));
  EXPECT_EQ(size_of(R"({"sample_size": 8, "_diffusers_version": "0.6.0"})"), (Size{256, 256}));
}

}  // namespace
}  // namespace vivace
