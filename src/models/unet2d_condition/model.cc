#include "models/unet2d_condition/model.h"

#include <algorithm>

#include "models/unet2d_condition/blocks.h"

namespace vivace {
namespace {

Value sinusoid(Builder& b, Value t, int64_t dim, const UNetConfig& config) {
  const Value s =
      b.emit(Op::sinusoid, {t}, {{"dim", dim}, {"flip_sin_to_cos", int64_t{config.flip_sin_to_cos}}, {"downscale_freq_shift", config.freq_shift}});
  return b.cast(s, b.dtype());
}

// TimestepEmbedding: linear_1, act, linear_2. `cond` is added (through cond_proj) before.
Value timestep_embedding(Builder& b, std::string_view name, Value x, Value cond, int64_t dim, const UNetConfig& config) {
  const auto scope = b.scope(name);
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

Graph build_unet(const UNetConfig& config, const UNetShape& shape, Builder b) {
  const size_t levels = config.block_out_channels.size();
  // A size that does not divide is rounded up on the way down; the way up then has to meet the skips' sizes, which is the general form of doubling.
  const int64_t factor = upsample_factor(config);
  const bool forward_upsample_size = shape.height % factor || shape.width % factor;
  const std::string multiple = forward_upsample_size ? "" : std::to_string(factor) + "*";
  const Value sample = b.input("sample", b.dtype(), {shape.batch, shape.height, shape.width, config.in_channels}, Phase::step,
                               "batch," + multiple + "height," + multiple + "width,_");
  Conditioning c;
  c.encoder_hidden_states =
      b.input("encoder_hidden_states", b.dtype(), {shape.batch, shape.tokens, config.cross_attention_dim}, Phase::setup, "batch,tokens,_");
  c.temb = embed_time(b, config, shape);

  Value x = config.center_input_sample ? b.affine(sample, 2, -1) : sample;
  x = conv2d_same(b, "conv_in", x, config.block_out_channels[0], config.conv_in_kernel);
  std::vector<Value> skips{x};
  const auto spec_of = [&](size_t level) {
    return BlockSpec{.type = config.down_block_types[level],
                     .out_channels = config.block_out_channels[level],
                     .heads = config.num_attention_heads[level],
                     .layers = config.transformer_layers[level],
                     .only_cross_attention = config.only_cross_attention[level],
                     .resample = level + 1 < levels};
  };
  for (size_t i = 0; i < levels; ++i) x = down_block(b, "down_blocks." + std::to_string(i), x, c, spec_of(i), config, skips);

  if (!config.mid_block_type.empty()) {
    BlockSpec spec = spec_of(levels - 1);
    spec.type = config.mid_block_type;
    // UNetMidBlock2D is built with no layer behind its first resnet, and the middle has self-attention whatever only_cross_attention says.
    spec.layers = spec.type == "UNetMidBlock2D" ? std::vector<int64_t>{} : std::vector<int64_t>{config.mid_transformer_layers};
    spec.only_cross_attention = false;
    x = mid_block(b, "mid_block", x, c, spec, config);
  }
  for (size_t i = 0; i < levels; ++i) {
    BlockSpec spec = spec_of(levels - 1 - i);
    spec.type = config.up_block_types[i];
    spec.layers = config.up_transformer_layers[i];
    spec.resample = i + 1 < levels;
    spec.forward_upsample_size = forward_upsample_size;
    x = up_block(b, "up_blocks." + std::to_string(i), x, c, spec, config, skips);
  }
  x = b.activation(group_norm(b, "conv_norm_out", x, config.norm_num_groups, config.norm_eps), config.act_fn);
  b.output("sample", conv2d_same(b, "conv_out", x, config.out_channels, config.conv_out_kernel));
  return b.take();
}

}  // namespace vivace
