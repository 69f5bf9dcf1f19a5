#include "components/model_classes.h"

#include <algorithm>

#include "components/autoencoder_kl_cogvideox.h"
#include "components/cogvideox_transformer.h"
#include "components/controlnet.h"
#include "components/models.h"
#include "components/transformer_models.h"

namespace vivace {
namespace {

template <class PublicModel, class Inside>
std::unique_ptr<Model> open(const std::filesystem::path& folder, const ComponentOptions& options) {
  return std::make_unique<PublicModel>(std::make_unique<Inside>(folder, options));
}

std::vector<Graph> unet_graphs(const Config& config) { return {build_unet(read_unet_config(config), {1, 8, 8, 1}, Builder(DType::float32))}; }

std::vector<Graph> controlnet_graphs(const Config& config) {
  return {build_controlnet(read_controlnet_config(config), {1, 8, 8, 1}, Builder(DType::float32))};
}

std::vector<Graph> vae_graphs(const Config& json) {
  const AutoencoderKLConfig config = read_autoencoder_kl_config(json);
  const int64_t side = 8 * config.scale();
  return {build_vae_decoder(config, 1, 8, 8, Builder(DType::float32)), build_vae_encoder(config, 1, side, side, Builder(DType::float32))};
}

std::vector<Graph> cogvideox_vae_graphs(const Config& json) {
  const AutoencoderKLCogVideoXConfig config = read_autoencoder_kl_cogvideox_config(json);
  return {build_cogvideox_decoder(config, {}, Builder(DType::float32)),
          build_cogvideox_encoder(config, {.height = config.scale(), .width = config.scale()}, Builder(DType::float32))};
}

std::vector<Graph> tiny_graphs(const Config& json) {
  const AutoencoderTinyConfig config = read_autoencoder_tiny_config(json);
  const int64_t side = 8 * config.encoder_scale();
  return {build_tiny_decoder(config, 1, 8, 8, Builder(DType::float32)), build_tiny_encoder(config, 1, side, side, Builder(DType::float32))};
}

template <bool with_projection>
std::vector<Graph> text_graphs(const Config& json) {
  CLIPTextConfig config = read_clip_text_config(json);
  config.with_projection = with_projection;
  return {build_clip_text(config, 1, config.max_position_embeddings, 0, Builder(DType::float32))};
}

std::vector<Graph> t5_graphs(const Config& config) {
  return {build_t5_encoder(read_t5_encoder_config(config), 1, 8, false, Builder(DType::float32))};
}

std::vector<Graph> flux_graphs(const Config& config) {
  return {build_flux_transformer_2d(read_flux_transformer_2d_config(config), {.batch = 1, .image_tokens = 4, .condition_tokens = 0, .tokens = 2},
                                    Builder(DType::float32))};
}

std::vector<Graph> aura_flow_graphs(const Config& json) {
  const AuraFlowTransformer2DConfig config = read_aura_flow_transformer_2d_config(json);
  return {build_aura_flow_transformer_2d(config, {1, config.patch_size, config.patch_size, 2}, Builder(DType::float32))};
}

std::vector<Graph> cogvideox_graphs(const Config& json) {
  const CogVideoXTransformer3DConfig config = read_cogvideox_transformer_3d_config(json);
  return {build_cogvideox_transformer_3d(config, smallest_cogvideox_transformer_3d(config), Builder(DType::float32))};
}

}  // namespace

std::span<const ModelClass> model_classes() {
  static constexpr std::string_view kDiffusers = "diffusion_pytorch_model", kTransformers = "model";
  static const std::vector<ModelClass> list{
      {"UNet2DConditionModel", kDiffusers, {}, open<UNet2DConditionModel, UNetComponent>, unet_graphs},
      {"ControlNetModel", kDiffusers, {}, open<ControlNetModel, ControlNetComponent>, controlnet_graphs},
      {"AutoencoderKL", kDiffusers, {"decode", "encode"}, open<AutoencoderKL, AutoencoderKLComponent>, vae_graphs},
      {"AutoencoderKLCogVideoX",
       kDiffusers,
       {"decode", "encode"},
       open<AutoencoderKLCogVideoX, AutoencoderKLCogVideoXComponent>,
       cogvideox_vae_graphs},
      {"AutoencoderTiny", kDiffusers, {"decode", "encode"}, open<AutoencoderTiny, AutoencoderTinyComponent>, tiny_graphs},
      {"CLIPTextModel", kTransformers, {}, open<CLIPTextModel, CLIPTextComponent>, text_graphs<false>},
      {"CLIPTextModelWithProjection", kTransformers, {}, open<CLIPTextModel, CLIPTextComponent>, text_graphs<true>},
      {"T5EncoderModel", kTransformers, {}, open<T5EncoderModel, T5EncoderComponent>, t5_graphs},
      {"UMT5EncoderModel", kTransformers, {}, open<T5EncoderModel, T5EncoderComponent>, t5_graphs},
      {"FluxTransformer2DModel", kDiffusers, {}, open<FluxTransformer2DModel, FluxTransformer2DComponent>, flux_graphs},
      {"AuraFlowTransformer2DModel", kDiffusers, {}, open<AuraFlowTransformer2DModel, AuraFlowTransformer2DComponent>, aura_flow_graphs},
      {"CogVideoXTransformer3DModel", kDiffusers, {}, open<CogVideoXTransformer3DModel, CogVideoXTransformer3DComponent>, cogvideox_graphs},
  };
  return list;
}

const ModelClass* find_model_class(std::string_view name) {
  const auto all = model_classes();
  const auto found = std::ranges::find(all, name, &ModelClass::name);
  return found == all.end() ? nullptr : &*found;
}

}  // namespace vivace
