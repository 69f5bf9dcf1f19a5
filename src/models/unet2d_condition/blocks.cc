#include "models/unet2d_condition/blocks.h"

#include <cmath>
#include <string>

namespace vivace {
namespace {

// Attention over `context` tokens (x itself for self-attention), without the residual.
Value attention_layer(Builder& b, std::string_view name, Value x, Value context, int64_t heads) {
  const auto scope = b.scope(name);
  const int64_t c = b.channels(x);
  const Value q = linear(b, "to_q", x, c, false), k = linear(b, "to_k", context, c, false), v = linear(b, "to_v", context, c, false);
  const Value y = b.attention(q, k, v, {}, heads, 1.0 / std::sqrt(static_cast<double>(c / heads)), false);
  return linear(b, "to_out.0", y, c);
}

Value feed_forward(Builder& b, std::string_view name, Value x) {
  const auto scope = b.scope(name);
  const int64_t c = b.channels(x);
  return linear(b, "net.2", b.emit(Op::geglu, {linear(b, "net.0.proj", x, 8 * c)}), c);
}

ResnetOptions unet_resnet_options(const UNetConfig& config) {
  return {config.norm_num_groups, config.norm_eps, config.act_fn, 1, config.resnet_time_scale_shift};
}

}  // namespace

Value basic_transformer_block(Builder& b, std::string_view name, Value x, Value context, int64_t heads, bool only_cross_attention) {
  const auto scope = b.scope(name, "BasicTransformerBlock");
  const auto norm = [&](std::string_view n) { return layer_norm(b, n, x, 1e-5); };
  const Value n1 = norm("norm1");
  x = b.add(attention_layer(b, "attn1", n1, only_cross_attention ? context : n1, heads), x);
  x = b.add(attention_layer(b, "attn2", norm("norm2"), context, heads), x);
  return b.add(feed_forward(b, "ff", norm("norm3")), x);
}

Value transformer_2d(Builder& b, std::string_view name, Value x, Value context, int64_t layers, const BlockSpec& spec, const UNetConfig& config) {
  const auto scope = b.scope(name, "Transformer2DModel");
  const int64_t c = b.channels(x);
  Value h = group_norm(b, "norm", x, config.norm_num_groups, 1e-6);
  const bool linear_projection = config.use_linear_projection;
  h = linear_projection ? linear(b, "proj_in", b.flatten_hw(h), c) : b.flatten_hw(conv2d_same(b, "proj_in", h, c, 1));
  for (int64_t i = 0; i < layers; ++i)
    h = basic_transformer_block(b, item("transformer_blocks", i), h, context, spec.heads, spec.only_cross_attention);
  h = linear_projection ? b.unflatten_hw(linear(b, "proj_out", h, c), x) : conv2d_same(b, "proj_out", b.unflatten_hw(h, x), c, 1);
  return b.add(h, x);
}

Value down_block(Builder& b, std::string_view name, Value x, const Conditioning& c, const BlockSpec& spec, const UNetConfig& config,
                 std::vector<Value>& skips) {
  const auto scope = b.scope(name);
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    x = resnet_block(b, item("resnets", i), x, c.temb, spec.out_channels, unet_resnet_options(config));
    if (has_attention(spec.type)) x = transformer_2d(b, item("attentions", i), x, c.encoder_hidden_states, spec.layers[i], spec, config);
    skips.push_back(x);
  }
  if (spec.resample) {
    const int64_t p = config.downsample_padding;
    // Padding 0 means Diffusers' asymmetric padding: one row below, one column to the right.
    x = downsample(b, "downsamplers.0", x, spec.out_channels, p ? std::vector<int64_t>{p, p, p, p} : std::vector<int64_t>{0, 0, 1, 1});
    skips.push_back(x);
  }
  return x;
}

Value mid_block(Builder& b, std::string_view name, Value x, const Conditioning& c, const BlockSpec& spec, const UNetConfig& config) {
  const auto scope = b.scope(name);
  ResnetOptions options = unet_resnet_options(config);
  options.output_scale_factor = config.mid_block_scale_factor;
  x = resnet_block(b, "resnets.0", x, c.temb, spec.out_channels, options);
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    x = transformer_2d(b, item("attentions", i), x, c.encoder_hidden_states, spec.layers[i], spec, config);
    x = resnet_block(b, item("resnets", i + 1), x, c.temb, spec.out_channels, options);
  }
  return x;
}

Value up_block(Builder& b, std::string_view name, Value x, const Conditioning& c, const BlockSpec& spec, const UNetConfig& config,
               std::vector<Value>& skips) {
  const auto scope = b.scope(name);
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    x = resnet_block(b, item("resnets", i), b.concat({x, skips.back()}, -1), c.temb, spec.out_channels, unet_resnet_options(config));
    skips.pop_back();
    if (has_attention(spec.type)) x = transformer_2d(b, item("attentions", i), x, c.encoder_hidden_states, spec.layers[i], spec, config);
  }
  return spec.resample ? upsample(b, "upsamplers.0", x, spec.forward_upsample_size ? skips.back() : Value{}) : x;
}

}  // namespace vivace
