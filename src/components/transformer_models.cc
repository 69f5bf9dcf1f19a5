#include "components/transformer_models.h"

#include "base/log.h"
#include "compiler/symbols.h"
#include "components/inputs.h"
#include "components/quantized_checkpoint.h"
#include "vivace/error.h"

namespace vivace {
GraphRequest T5EncoderComponent::request(int64_t batch, int64_t tokens, bool mask) const {
  return {.function = mask ? "masked" : "",
          .dtype = dtype(),
          .sizes = {{"batch", batch}, {"tokens", tokens}},
          .granularity = {},
          .build = [config = config_, mask](const Sizes& s, Builder b) {
            return build_t5_encoder(config, s.at("batch"), s.at("tokens"), mask, std::move(b));
          }};
}

GraphRequest FluxTransformer2DComponent::request(const FluxTransformer2DShape& shape, int64_t timesteps) const {
  const bool conditioned = shape.condition_tokens > 0;
  GraphRequest request{.function = conditioned ? "conditioned" : "",
                       .dtype = dtype(),
                       .sizes = {{"batch", shape.batch}, {"image_tokens", shape.image_tokens}, {"tokens", shape.tokens}, {kTimesteps, timesteps}},
                       .granularity = {{"batch", 0}},
                       .build = [config = config_, conditioned](const Sizes& s, Builder b) {
                         return build_flux_transformer_2d(
                             config, {s.at("batch"), s.at("image_tokens"), conditioned ? s.at("condition_tokens") : 0, s.at("tokens")}, std::move(b));
                       }};
  if (conditioned) request.sizes["condition_tokens"] = shape.condition_tokens;
  return request;
}

GraphRequest AuraFlowTransformer2DComponent::request(const AuraFlowTransformer2DShape& shape, int64_t timesteps) const {
  return {.function = "",
          .dtype = dtype(),
          .sizes = {{"batch", shape.batch}, {"height", shape.height}, {"width", shape.width}, {"tokens", shape.tokens}, {kTimesteps, timesteps}},
          .granularity = {{"batch", 0}, {"height", config_.patch_size}, {"width", config_.patch_size}},
          .build = [config = config_](const Sizes& s, Builder b) {
            return build_aura_flow_transformer_2d(config, {s.at("batch"), s.at("height"), s.at("width"), s.at("tokens")}, std::move(b));
          }};
}

T5EncoderComponent::T5EncoderComponent(const std::filesystem::path& path, const ComponentOptions& options)
    : Component(path, options), config_(read_t5_encoder_config(read_config(path))) {
  set_typical(request(1, 512, false));
  if (is_packaged() || weights().empty()) return;
  const auto small = [&] { return graph(request(1, 8, false)); };
  quantize(stored_quantization(read_config(path), weights(), small));
  // The rest of a whole T5, and the name under which some checkpoints hold the embedding a second time.
  const std::vector<std::string> ignored{"decoder.", "lm_head.weight", "encoder.embed_tokens.weight"};
  check_weights([&] { return std::vector{small()}; }, ignored);
}

FluxTransformer2DComponent::FluxTransformer2DComponent(const std::filesystem::path& path, const ComponentOptions& options)
    : Component(path, options), config_(read_flux_transformer_2d_config(read_config(path))) {
  set_typical(request({}));
  if (is_packaged() || weights().empty()) return;
  const auto small = [&] { return graph(request({.batch = 1, .image_tokens = 4, .condition_tokens = 0, .tokens = 2})); };
  quantize(stored_quantization(read_config(path), weights(), small));
  check_weights([&] { return std::vector{small()}; });
}

AuraFlowTransformer2DComponent::AuraFlowTransformer2DComponent(const std::filesystem::path& path, const ComponentOptions& options)
    : Component(path, options), config_(read_aura_flow_transformer_2d_config(read_config(path))) {
  set_typical(request({1, config_.sample_size, config_.sample_size, 256}));
  if (is_packaged() || weights().empty()) return;
  const auto small = [&] { return graph(request({1, config_.patch_size, config_.patch_size, 2})); };
  quantize(stored_quantization(read_config(path), weights(), small));
  check_weights([&] { return std::vector{small()}; });
}

Tensor T5EncoderComponent::encode(const Tensor& input_ids, const Tensor& attention_mask, Request& request) const {
  need_shape(input_ids, {-1, -1}, "input_ids", "int32 [N, T]");
  if (attention_mask.defined()) need_shape(attention_mask, input_ids.shape(), "attention_mask", "one number for each of input_ids");
  const Tensor ids = checked_token_ids(input_ids, config_.vocab_size, name());
  const SessionLease session = lease(this->request(ids.dim(0), ids.dim(1), attention_mask.defined()), request);
  return run_once(*session, request, {{"input_ids", ids}, {"attention_mask", attention_mask}}, "last_hidden_state");
}

T5EncoderModel T5EncoderModel::from_pretrained(const std::filesystem::path& path, const ModelOptions& options) {
  return T5EncoderModel(std::make_unique<T5EncoderComponent>(path, options));
}

Tensor T5EncoderModel::operator()(const Tensor& input_ids, const Tensor& attention_mask) const {
  Request request({}, sdpa_kernel::current());
  return static_cast<const T5EncoderComponent&>(*component_).encode(input_ids, attention_mask, request);
}

FluxTransformer2DModel FluxTransformer2DModel::from_pretrained(const std::filesystem::path& path, const ModelOptions& options) {
  return FluxTransformer2DModel(std::make_unique<FluxTransformer2DComponent>(path, options));
}

Tensor FluxTransformer2DModel::operator()(const Tensor& hidden_states, const Tensor& encoder_hidden_states, const Tensor& pooled_projections,
                                          float timestep, const Tensor& img_ids, const Tensor& txt_ids, const Tensor& guidance) const {
  const auto& model = static_cast<const FluxTransformer2DComponent&>(*component_);
  const FluxTransformer2DConfig& config = model.config();
  need_shape(hidden_states, {-1, -1, config.in_channels}, "hidden_states", "[N, S, in_channels]");
  const int64_t batch = hidden_states.dim(0);
  need_shape(encoder_hidden_states, {batch, -1, config.joint_attention_dim}, "encoder_hidden_states", "[N, T, joint_attention_dim]");
  need_shape(pooled_projections, {batch, config.pooled_projection_dim}, "pooled_projections", "[N, pooled_projection_dim]");
  need_shape(img_ids, {hidden_states.dim(1), 3}, "img_ids", "[S, 3]");
  need_shape(txt_ids, {encoder_hidden_states.dim(1), 3}, "txt_ids", "[T, 3]");
  if (config.guidance_embeds) need_shape(guidance, {batch}, "guidance", "[N]: the model was distilled with guidance");
  Request request({}, sdpa_kernel::current());
  const SessionLease session = model.lease(
      model.request({.batch = batch, .image_tokens = hidden_states.dim(1), .condition_tokens = 0, .tokens = encoder_hidden_states.dim(1)}), request);
  return run_once(*session, request,
                  {{"hidden_states", hidden_states},
                   {"encoder_hidden_states", encoder_hidden_states},
                   {"pooled_projections", pooled_projections},
                   {"timestep", Tensor::from({timestep})},
                   {"img_ids", img_ids},
                   {"txt_ids", txt_ids},
                   {"guidance", guidance}},
                  "sample");
}

AuraFlowTransformer2DModel AuraFlowTransformer2DModel::from_pretrained(const std::filesystem::path& path, const ModelOptions& options) {
  return AuraFlowTransformer2DModel(std::make_unique<AuraFlowTransformer2DComponent>(path, options));
}

Tensor AuraFlowTransformer2DModel::operator()(const Tensor& hidden_states, const Tensor& encoder_hidden_states, float timestep) const {
  const auto& model = static_cast<const AuraFlowTransformer2DComponent&>(*component_);
  const AuraFlowTransformer2DConfig& config = model.config();
  need_shape(hidden_states, {-1, config.in_channels, -1, -1}, "hidden_states", "[N, in_channels, H, W]");
  need_shape(encoder_hidden_states, {hidden_states.dim(0), -1, config.joint_attention_dim}, "encoder_hidden_states", "[N, T, joint_attention_dim]");
  if (hidden_states.dim(2) % config.patch_size || hidden_states.dim(3) % config.patch_size)
    throw UsageError(
        cat("hidden_states has shape ", to_string(hidden_states.shape()), ": expected height and width to be multiples of ", config.patch_size));
  Request request({}, sdpa_kernel::current());
  const SessionLease session =
      model.lease(model.request({hidden_states.dim(0), hidden_states.dim(2), hidden_states.dim(3), encoder_hidden_states.dim(1)}), request);
  return nhwc_to_nchw(run_once(
      *session, request,
      {{"hidden_states", nchw_to_nhwc(hidden_states)}, {"encoder_hidden_states", encoder_hidden_states}, {"timestep", Tensor::from({timestep})}},
      "sample"));
}

}  // namespace vivace
