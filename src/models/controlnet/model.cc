#include "models/controlnet/model.h"

#include "base/log.h"
#include "models/unet2d_condition/encoder.h"

namespace vivace {
namespace {

// ControlNetConditioningEmbedding: the picture at the latents' size.
Value embed_picture(Builder& b, const ControlNetConfig& config, const UNetShape& shape) {
  const int64_t scale = config.scale();
  const Value picture = b.input("controlnet_cond", b.dtype(), {shape.batch, scale * shape.height, scale * shape.width, config.conditioning_channels},
                                Phase::setup, "batch,cond_height,cond_width,_");
  const auto scope = b.scope("controlnet_cond_embedding");
  const auto& channels = config.conditioning_embedding_out_channels;
  Value x = b.activation(conv2d_same(b, "conv_in", picture, channels[0], 3), "silu");
  for (size_t i = 0; i + 1 < channels.size(); ++i) {
    x = b.activation(conv2d_same(b, cat("blocks.", 2 * i), x, channels[i], 3), "silu");
    x = b.activation(conv2d(b, cat("blocks.", 2 * i + 1), x, channels[i + 1], 3, 2, {1, 1, 1, 1}), "silu");
  }
  return conv2d_same(b, "conv_out", x, config.unet.block_out_channels[0], 3);
}

}  // namespace

Graph build_controlnet(const ControlNetConfig& config, const UNetShape& shape, Builder b) {
  const Value picture = embed_picture(b, config, shape);
  const UNetEncoder encoder = build_unet_encoder(b, config.unet, shape, picture);
  const auto block = [&](const std::string& name, Value x) { return conv2d_same(b, name, x, b.channels(x), 1); };
  for (size_t i = 0; i < encoder.skips.size(); ++i) b.output(cat(kDownSamples, i), block(cat("controlnet_down_blocks.", i), encoder.skips[i]));
  b.output(kMidSample, block("controlnet_mid_block", encoder.middle));
  return b.take();
}

}  // namespace vivace
