#include "models/autoencoder_kl/model.h"

#include <cmath>

#include "models/common/resnet.h"

namespace vivace {
namespace {

ResnetOptions resnet_options(const AutoencoderKLConfig& config) { return {config.norm_num_groups, 1e-6, config.act_fn, 1.0}; }

// One head as wide as the channels, over all pixels.
Value attention_block(Builder& b, std::string_view name, Value x, const AutoencoderKLConfig& config) {
  const auto scope = b.scope(name, "Attention");
  const int64_t c = b.channels(x);
  const Value h = b.flatten_hw(group_norm(b, "group_norm", x, config.norm_num_groups, 1e-6));
  const Value q = linear(b, "to_q", h, c), k = linear(b, "to_k", h, c), v = linear(b, "to_v", h, c);
  const Value y = linear(b, "to_out.0", b.attention(q, k, v, {}, 1, 1.0 / std::sqrt(static_cast<double>(c)), false), c);
  return b.add(b.unflatten_hw(y, x), x);
}

Value mid_block(Builder& b, Value x, const AutoencoderKLConfig& config) {
  const auto scope = b.scope("mid_block");
  const int64_t c = b.channels(x);
  x = resnet_block(b, "resnets.0", x, {}, c, resnet_options(config));
  if (config.mid_block_add_attention) x = attention_block(b, "attentions.0", x, config);
  return resnet_block(b, "resnets.1", x, {}, c, resnet_options(config));
}

Value head(Builder& b, Value x, int64_t out, const AutoencoderKLConfig& config) {
  x = b.activation(group_norm(b, "conv_norm_out", x, config.norm_num_groups, 1e-6), "silu");  // act_fn is the resnets' alone
  return conv2d_same(b, "conv_out", x, out, 3);
}

}  // namespace

Graph build_vae_decoder(const AutoencoderKLConfig& config, int64_t batch, int64_t height, int64_t width, Builder b) {
  Value x = b.input("latents", b.dtype(), {batch, height, width, config.latent_channels}, Phase::step, "batch,height,width,_");
  if (config.use_post_quant_conv) x = conv2d_same(b, "post_quant_conv", x, config.latent_channels, 1);
  const auto scope = b.scope("decoder");
  const size_t levels = config.block_out_channels.size();
  x = conv2d_same(b, "conv_in", x, config.block_out_channels.back(), 3);
  x = mid_block(b, x, config);
  for (size_t i = 0; i < levels; ++i) {
    const auto block = b.scope(item("up_blocks", i));
    const int64_t out = config.block_out_channels[levels - 1 - i];
    for (int64_t j = 0; j <= config.layers_per_block; ++j) x = resnet_block(b, item("resnets", j), x, {}, out, resnet_options(config));
    if (i + 1 < levels) x = upsample(b, "upsamplers.0", x, {});
  }
  b.output("sample", head(b, x, config.out_channels, config));
  return b.take();
}

Graph build_vae_encoder(const AutoencoderKLConfig& config, int64_t batch, int64_t height, int64_t width, Builder b) {
  Value x = b.input("sample", b.dtype(), {batch, height, width, config.in_channels}, Phase::step, "batch,height,width,_");
  {
    const auto scope = b.scope("encoder");
    const size_t levels = config.block_out_channels.size();
    x = conv2d_same(b, "conv_in", x, config.block_out_channels[0], 3);
    for (size_t i = 0; i < levels; ++i) {
      const auto block = b.scope(item("down_blocks", i));
      const int64_t out = config.block_out_channels[i];
      for (int64_t j = 0; j < config.layers_per_block; ++j) x = resnet_block(b, item("resnets", j), x, {}, out, resnet_options(config));
      // The encoder pads below and to the right only.
      if (i + 1 < levels) x = downsample(b, "downsamplers.0", x, out, {0, 0, 1, 1});
    }
    x = head(b, mid_block(b, x, config), 2 * config.latent_channels, config);
  }
  if (config.use_quant_conv) x = conv2d_same(b, "quant_conv", x, 2 * config.latent_channels, 1);
  b.output("moments", x);
  return b.take();
}

}  // namespace vivace
