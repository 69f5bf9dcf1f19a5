// Checkpoints stored in other ways than the repository's, and what a pipeline takes from their configs.
#include <gtest/gtest.h>

#include "../temp_folder.h"
#include "checkpoint.h"
#include "vivace/error.h"
#include "vivace/vivace.h"
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
  copy_text_encoder(folder / "whole", same, {"logit_scale", "vision_model.post_layernorm.weight", "visual_projection.weight", "text_projection.weight"});
  const Tensor ids = token_ids({0, 5, 9, 2});
  const ModelOptions options{.cache = {.enabled = false}};
  const Tensor want = CLIPTextModel::from_pretrained(kTextEncoder, options)(ids).last_hidden_state;
  for (const char* name : {"bare", "whole"}) {
    const Tensor got = CLIPTextModel::from_pretrained(folder / name, options)(ids).last_hidden_state;
    for (int64_t i = 0; i < want.numel(); ++i) ASSERT_EQ(got.floats()[i], want.floats()[i]) << name;
  }
  copy_text_encoder(folder / "other", same, {"text_model.adapter.weight"});
  EXPECT_THROW(CLIPTextModel::from_pretrained(folder / "other", options), UserError);
}

TEST(Loading, TokensBeyondTheVocabularyAreRefused) {
  CLIPTextModel text = CLIPTextModel::from_pretrained(kTextEncoder, {.cache = {.enabled = false}});
  for (int32_t id : {-1, 1'000'000}) EXPECT_THROW(text(token_ids({id})), UsageError) << id;
}

TEST(Loading, DefaultSizesOfStableDiffusion) {
  const auto size_of = [](const char* fields) {
    const TempFolder folder;
    const nlohmann::json overrides{{"unet/config.json", nlohmann::json::parse(fields)}};
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
