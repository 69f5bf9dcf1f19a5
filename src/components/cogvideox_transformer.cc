#include "components/cogvideox_transformer.h"

#include "base/log.h"
#include "compiler/symbols.h"
#include "components/inputs.h"
#include "components/quantized_checkpoint.h"
#include "vivace/error.h"

namespace vivace {

CogVideoXTransformer3DComponent::CogVideoXTransformer3DComponent(const std::filesystem::path& path, const ComponentOptions& options)
    : Component(path, options), config_(read_cogvideox_transformer_3d_config(read_config(path))) {
  const int64_t frames = config_.latent_frames(config_.sample_frames), patch = config_.frames_a_patch();
  set_typical(request({.batch = 1,
                       .video_tokens = video_tokens(config_, {(frames + patch - 1) / patch * patch, config_.sample_height, config_.sample_width}),
                       .tokens = config_.max_text_seq_length,
                       .learned = config_.use_learned_positional_embeddings}));
  if (is_packaged() || weights().empty()) return;
  const auto small = [&] { return graph(request(smallest_cogvideox_transformer_3d(config_))); };
  quantize(stored_quantization(read_config(path), weights(), small));
  check_weights([&] { return std::vector{small()}; });
}

GraphRequest CogVideoXTransformer3DComponent::request(const CogVideoXTransformer3DShape& shape, int64_t timesteps) const {
  GraphRequest request{.function = shape.learned ? "learned" : "",
                       .dtype = dtype(),
                       .sizes = {{"batch", shape.batch}, {kTimesteps, timesteps}},
                       .granularity = {},
                       .build = [config = config_, shape](const Sizes& s, Builder b) {
                         CogVideoXTransformer3DShape of = shape;
                         of.batch = s.at("batch");
                         if (!of.learned) {
                           of.video_tokens = s.at("video_tokens");
                           of.tokens = s.at("tokens");
                         }
                         return build_cogvideox_transformer_3d(config, of, std::move(b));
                       }};
  if (!shape.learned) request.sizes.insert({{"video_tokens", shape.video_tokens}, {"tokens", shape.tokens}});
  return request;
}

bool CogVideoXTransformer3DComponent::is_own_size(const VideoGrid& grid) const {
  return grid.frames == config_.latent_frames(config_.sample_frames) && grid.height == config_.sample_height && grid.width == config_.sample_width;
}

GraphRequest CogVideoXTransformer3DComponent::request(int64_t batch, const VideoGrid& grid, int64_t tokens, int64_t timesteps) const {
  const int64_t p = config_.patch_size;
  const std::string size = cat("a video of ", grid.frames, " latent frames of ", grid.height, " x ", grid.width, ": ", name());
  if (grid.frames < 1 || grid.height < p || grid.width < p || grid.frames % config_.frames_a_patch() || grid.height % p || grid.width % p)
    throw UsageError(cat(size, " reads patches of ", config_.frames_a_patch(), " x ", p, " x ", p));
  if (config_.use_learned_positional_embeddings && (grid.height != config_.sample_height || grid.width != config_.sample_width))
    throw UsageError(cat(size, " has learned positions for ", config_.sample_height, " x ", config_.sample_width,
                         " alone (use_learned_positional_embeddings, sample_height, sample_width)"));
  if (config_.patch_size_t && (grid.height > config_.sample_height || grid.width > config_.sample_width))
    throw UsageError(cat(size, " knows positions up to ", config_.sample_height, " x ", config_.sample_width, " (sample_height, sample_width)"));
  const bool table = !config_.use_rotary_positional_embeddings || config_.use_learned_positional_embeddings;
  if (table && tokens != config_.max_text_seq_length)
    throw UsageError(cat("a prompt of ", tokens, " tokens: ", name(), " takes ", config_.max_text_seq_length, " (max_text_seq_length)"));
  return request({.batch = batch,
                  .video_tokens = video_tokens(config_, grid),
                  .tokens = tokens,
                  .learned = config_.use_learned_positional_embeddings && is_own_size(grid)},
                 timesteps);
}

std::map<std::string, Tensor> CogVideoXTransformer3DComponent::positions(const VideoGrid& grid, int64_t tokens) const {
  std::map<std::string, Tensor> inputs;
  const bool rotary = config_.use_rotary_positional_embeddings;
  if (rotary) inputs = {{"txt_ids", Tensor::zeros({tokens, 3})}, {"video_ids", rotary_positions(config_, grid)}};
  if (!rotary || (config_.use_learned_positional_embeddings && !is_own_size(grid))) inputs["grid"] = sine_positions(config_, grid);
  return inputs;
}

CogVideoXTransformer3DModel CogVideoXTransformer3DModel::from_pretrained(const std::filesystem::path& path, const ModelOptions& options) {
  return CogVideoXTransformer3DModel(std::make_unique<CogVideoXTransformer3DComponent>(path, options));
}

Tensor CogVideoXTransformer3DModel::operator()(const Tensor& hidden_states, const Tensor& encoder_hidden_states, float timestep, float ofs) const {
  const auto& model = static_cast<const CogVideoXTransformer3DComponent&>(*component_);
  const CogVideoXTransformer3DConfig& config = model.config();
  need_shape(hidden_states, {-1, -1, config.in_channels, -1, -1}, "hidden_states", "[N, F, in_channels, H, W]");
  const int64_t batch = hidden_states.dim(0), tokens = encoder_hidden_states.defined() ? encoder_hidden_states.dim(1) : 0;
  need_shape(encoder_hidden_states, {batch, -1, config.text_embed_dim}, "encoder_hidden_states", "[N, T, text_embed_dim]");
  const VideoGrid grid{hidden_states.dim(1), hidden_states.dim(3), hidden_states.dim(4)};
  Request request({}, sdpa_kernel::current());
  const SessionLease session = model.lease(model.request(batch, grid, tokens), request);
  const int64_t patches = video_tokens(config, grid), values = config.patch_values();
  const Tensor packed = packed_video(config, hidden_states.to(DType::float32)).reshape({batch, config.in_channels * values, patches, 1});
  for (const auto& [name, value] : model.positions(grid, tokens)) session->write(name, value);
  const Tensor sample = run_once(*session, request,
                                 {{"hidden_states", nchw_to_nhwc(packed).reshape({batch, patches, config.in_channels * values})},
                                  {"encoder_hidden_states", encoder_hidden_states},
                                  {"timestep", Tensor::from({timestep})},
                                  {"ofs", Tensor::from({ofs})}},
                                 "sample");
  Tensor latents({batch, grid.frames, config.out_channels, grid.height, grid.width}, DType::float32);
  unpack_video(config, nhwc_to_nchw(sample.reshape({batch, patches, 1, config.out_channels * values})), latents);
  return latents;
}

}  // namespace vivace
