#include "models/unet2d_condition/encoder.h"

#include <algorithm>

namespace vivace {
namespace {

Value sinusoid(Builder& b, Value t, int64_t dim, const UNetConfig& config) {
  const Value s =
      b.emit(Op::sinusoid, {t}, {{"dim", dim}, {"flip_sin_to_cos", int64_t{config.flip_sin_to_cos}}, {"downscale_freq_shift", config.freq_shift}});
  return b.cast(s, b.dtype());
}

// TimestepEmbedding: linear_1, act, linear_2. `cond` is added (through cond_proj) before.
Value timestep_embedding(Builder& b, std::string_view name, Value x, Value cond, int64_t dim, const UNetConfig& config) {
  const auto scope = b.scope(name, "TimestepEmbedding");
  if (cond) x = b.add(x, linear(b, "cond_proj", cond, b.channels(x), false));
  return b.activation(linear(b, "linear_2", b.activation(linear(b, "linear_1", x, dim), config.act_fn), dim), config.timestep_post_act);
}

Value embed_time(Builder& b, const UNetConfig& config, const UNetShape& shape) {
  const int64_t batch = shape.batch;
  const Value t = b.input("timestep", DType::float32, {shape.timesteps}, Phase::step, shape.timesteps == 1 ? "" : "batch");
  const Value cond =
      config.time_cond_proj_dim ? b.input("timestep_cond", b.dtype(), {batch, config.time_cond_proj_dim}, Phase::setup, "batch,_") : Value{};
  Value emb = timestep_embedding(b, "time_embedding", sinusoid(b, t, config.block_out_channels[0], config), cond, config.time_embedding_dim, config);
  if (config.addition_embed_type == "text_time") {
    const int64_t dim = config.addition_time_embed_dim, count = shape.time_ids ? shape.time_ids : config.time_id_count;
    const Value text =
        b.input("text_embeds", b.dtype(), {batch, config.projection_class_embeddings_input_dim - count * dim}, Phase::setup, "batch,_");
    const Value ids = b.input("time_ids", DType::float32, {batch, count}, Phase::setup, "batch,_");
    const Value times = b.reshape(sinusoid(b, b.reshape(ids, {-1}), dim, config), {-1, count * dim});
    UNetConfig plain = config;  // Diffusers builds this one with TimestepEmbedding's own defaults
    plain.timestep_post_act.clear();
    plain.act_fn = "silu";
    emb = b.add(emb, timestep_embedding(b, "add_embedding", b.concat({text, times}, -1), {}, config.time_embedding_dim, plain));
  }
  return b.activation(emb, config.time_embedding_act_fn);
}

}  // namespace

BlockSpec spec_of(const UNetConfig& config, size_t level) {
  return {.type = config.down_block_types[level],
          .out_channels = config.block_out_channels[level],
          .heads = config.num_attention_heads[level],
          .layers = config.transformer_layers[level],
          .only_cross_attention = config.only_cross_attention[level],
          .resample = level + 1 < config.block_out_channels.size()};
}

UNetEncoder build_unet_encoder(Builder& b, const UNetConfig& config, const UNetShape& shape, Value beside) {
  const size_t levels = config.block_out_channels.size();
  // A size that does not divide is rounded up on the way down; the way up then has to meet the skips' sizes, which is the general form of doubling.
  const std::string multiple = forwards_upsample_size(config, shape) ? "" : std::to_string(upsample_factor(config)) + "*";
  const Value sample = b.input("sample", b.dtype(), {shape.batch, shape.height, shape.width, config.in_channels}, Phase::step,
                               "batch," + multiple + "height," + multiple + "width,_");
  UNetEncoder encoder;
  encoder.conditioning.encoder_hidden_states =
      b.input("encoder_hidden_states", b.dtype(), {shape.batch, shape.tokens, config.cross_attention_dim}, Phase::setup, "batch,tokens,_");
  encoder.conditioning.temb = embed_time(b, config, shape);

  Value x = config.center_input_sample ? b.affine(sample, 2, -1) : sample;
  x = conv2d_same(b, "conv_in", x, config.block_out_channels[0], config.conv_in_kernel);
  if (beside) x = b.add(x, beside);
  encoder.skips.push_back(x);
  for (size_t i = 0; i < levels; ++i)
    x = down_block(b, "down_blocks." + std::to_string(i), x, encoder.conditioning, spec_of(config, i), config, encoder.skips);
  if (!config.mid_block_type.empty()) {
    BlockSpec spec = spec_of(config, levels - 1);
    spec.type = config.mid_block_type;
    // UNetMidBlock2D is built with no layer behind its first resnet, and the middle has self-attention whatever only_cross_attention says.
    spec.layers = spec.type == "UNetMidBlock2D" ? std::vector<int64_t>{} : std::vector<int64_t>{config.mid_transformer_layers};
    spec.only_cross_attention = false;
    x = mid_block(b, "mid_block", x, encoder.conditioning, spec, config);
  }
  encoder.middle = x;
  return encoder;
}

std::map<std::string, int64_t> level_sizes(const UNetConfig& config, const UNetShape& shape) {
  std::map<std::string, int64_t> sizes;
  int64_t height = shape.height, width = shape.width;
  for (size_t level = 1; level < config.block_out_channels.size(); ++level) {
    // A downsampler's 3x3 window every other pixel; without its own padding there is one pixel below and to the right.
    const int64_t more = config.downsample_padding > 0 ? 2 * config.downsample_padding : 1;
    height = (height + more - 3) / 2 + 1, width = (width + more - 3) / 2 + 1;
    sizes["height_" + std::to_string(level)] = height;
    sizes["width_" + std::to_string(level)] = width;
  }
  return sizes;
}

std::vector<size_t> skip_levels(const UNetConfig& config) {
  std::vector<size_t> levels{0};
  for (size_t i = 0; i < config.block_out_channels.size(); ++i) {
    levels.insert(levels.end(), static_cast<size_t>(config.layers_per_block[i]), i);
    if (i + 1 < config.block_out_channels.size()) levels.push_back(i + 1);
  }
  return levels;
}

}  // namespace vivace
