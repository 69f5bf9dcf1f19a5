// The graph of a whole golden component and its inputs.
#pragma once

#include "base/json.h"
#include "golden.h"
#include "models/aura_flow_transformer_2d/model.h"
#include "models/autoencoder_kl/model.h"
#include "models/autoencoder_tiny/model.h"
#include "models/clip_text/model.h"
#include "models/cogvideox_transformer_3d/model.h"
#include "models/cogvideox_transformer_3d/tokens.h"
#include "models/flux_transformer_2d/model.h"
#include "models/t5_encoder/model.h"
#include "models/unet2d_condition/model.h"

namespace vivace::golden {

struct Component {
  Graph graph;
  Tensors inputs;
};

inline VideoGrid grid_of(const Shape& latents) { return {latents[1], latents[3], latents[4]}; }

// The model reads patches.
inline void make_cogvideox(const CogVideoXTransformer3DConfig& config, Component& c, Builder b) {
  const Shape latents = c.inputs.at("hidden_states").shape();
  const VideoGrid grid = grid_of(latents);
  const int64_t tokens = c.inputs.at("encoder_hidden_states").dim(1), patches = video_tokens(config, grid);
  const Tensor packed = packed_video(config, c.inputs.at("hidden_states"));
  c.inputs["hidden_states"] = nchw_to_nhwc(packed.reshape({latents[0], packed.dim(1), patches, 1})).reshape({latents[0], patches, packed.dim(1)});
  c.inputs["txt_ids"] = Tensor::zeros({tokens, 3});
  c.inputs["video_ids"] = rotary_positions(config, grid);
  c.inputs["grid"] = sine_positions(config, grid);
  const bool learned = config.use_learned_positional_embeddings && patches == config.own_tokens();
  c.graph = build_cogvideox_transformer_3d(config, {latents[0], patches, tokens, learned}, std::move(b));
}

// What the model gives, as its class does.
inline Tensor cogvideox_sample(const nlohmann::json& item, const Tensor& sample) {
  const CogVideoXTransformer3DConfig config = read_cogvideox_transformer_3d_config(Config::parse(json_text(item.at("config")), item.at("name")));
  Shape latents = item.at("inputs").at("hidden_states").at("shape").get<Shape>();
  latents[2] = config.out_channels;
  Tensor result(latents, DType::float32);
  unpack_video(config, nhwc_to_nchw(sample.reshape({latents[0], sample.dim(1), 1, sample.dim(2)})), result);
  return result;
}

// Runs of one golden case: text encoders are built once for each hidden state that is compared.
inline Component make_component(const nlohmann::json& item, DType dtype, int64_t skip = 0) {
  const Config config = Config::parse(json_text(item.at("config")), item.at("name").get<std::string>());
  const std::string kind = item.at("kind");
  Component c;
  for (const auto& [name, spec] : item.at("inputs").items()) c.inputs[name] = make_input(spec);
  Builder b(dtype);
  if (kind == "text_encoder") {
    CLIPTextConfig text = read_clip_text_config(config);
    text.with_projection = item.at("class") == "CLIPTextModelWithProjection";
    Tensor& ids = c.inputs.at("input_ids");
    ids = ids.to(DType::int32);
    c.graph = build_clip_text(text, ids.dim(0), ids.dim(1), skip, std::move(b));
  } else if (kind == "unet") {
    const UNetConfig unet = read_unet_config(config);
    const Tensor &sample = c.inputs.at("sample"), &states = c.inputs.at("encoder_hidden_states");
    const int64_t time_ids = c.inputs.contains("time_ids") ? c.inputs.at("time_ids").dim(1) : 0;
    c.graph = build_unet(unet, {sample.dim(0), sample.dim(2), sample.dim(3), states.dim(1), c.inputs.at("timestep").dim(0), time_ids}, std::move(b));
  } else if (kind == "t5_encoder") {
    Tensor& ids = c.inputs.at("input_ids");
    ids = ids.to(DType::int32);
    c.graph = build_t5_encoder(read_t5_encoder_config(config), ids.dim(0), ids.dim(1), c.inputs.contains("attention_mask"), std::move(b));
  } else if (kind == "flux_transformer_2d") {
    const Tensor &latents = c.inputs.at("hidden_states"), &states = c.inputs.at("encoder_hidden_states");
    const int64_t condition = c.inputs.contains("image_latents") ? c.inputs.at("image_latents").dim(1) : 0;
    c.graph =
        build_flux_transformer_2d(read_flux_transformer_2d_config(config), {latents.dim(0), latents.dim(1), condition, states.dim(1)}, std::move(b));
  } else if (kind == "aura_flow_transformer_2d") {
    const Tensor &latents = c.inputs.at("hidden_states"), &states = c.inputs.at("encoder_hidden_states");
    c.graph = build_aura_flow_transformer_2d(read_aura_flow_transformer_2d_config(config),
                                             {latents.dim(0), latents.dim(2), latents.dim(3), states.dim(1)}, std::move(b));
  } else if (kind == "cogvideox_transformer_3d") {
    make_cogvideox(read_cogvideox_transformer_3d_config(config), c, std::move(b));
  } else if (item.at("class") == "AutoencoderTiny") {
    const AutoencoderTinyConfig vae = read_autoencoder_tiny_config(config);
    const Tensor& x = c.inputs.at(kind == "vae_decode" ? "latents" : "sample");
    c.graph = (kind == "vae_decode" ? build_tiny_decoder : build_tiny_encoder)(vae, x.dim(0), x.dim(2), x.dim(3), std::move(b));
  } else {
    const AutoencoderKLConfig vae = read_autoencoder_kl_config(config);
    const Tensor& x = c.inputs.at(kind == "vae_decode" ? "latents" : "sample");
    c.graph = (kind == "vae_decode" ? build_vae_decoder : build_vae_encoder)(vae, x.dim(0), x.dim(2), x.dim(3), std::move(b));
  }
  return c;
}

// SDXL's UNet of the golden files.
inline nlohmann::json sdxl_case() {
  for (const auto& item : read_cases(std::string(VIVACE_SOURCE_DIR) + "/tests/models/data"))
    if (item.at("name") == "unet_sdxl") return item;
  throw InternalError("no golden case unet_sdxl");
}
inline Graph sdxl_graph(DType dtype = DType::float32) { return make_component(sdxl_case(), dtype).graph; }

}  // namespace vivace::golden
