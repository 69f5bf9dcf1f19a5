#include "models/autoencoder_tiny/model.h"

#include "models/common/layers.h"

namespace vivace {
namespace {

// The layers of an nn.Sequential, by their numbers.
class TinyLayers {
 public:
  explicit TinyLayers(Builder& b) : b_(b) {}

  Value conv(Value x, int64_t out, int64_t stride, bool bias) {
    const auto scope = b_.scope(std::to_string(next_++));
    const Value w = b_.weight("weight", {out, b_.channels(x), 3, 3});
    return b_.conv2d(x, w, bias ? b_.weight("bias", {out}) : Value{}, stride, {1, 1, 1, 1});
  }
  Value activation(Value x, std::string_view act) {
    ++next_;
    return b_.activation(x, act);
  }
  Value upsample(Value x) {
    ++next_;
    return b_.emit(Op::upsample_nearest, {x});
  }
  // Of as many channels in as out.
  Value block(Value x, std::string_view act) {
    const auto scope = b_.scope(std::to_string(next_++), "AutoencoderTinyBlock");
    const int64_t c = b_.channels(x);
    Value y = b_.activation(conv2d_same(b_, "conv.0", x, c, 3), act);
    y = b_.activation(conv2d_same(b_, "conv.2", y, c, 3), act);
    return b_.activation(b_.add(conv2d_same(b_, "conv.4", y, c, 3), x), "relu");
  }

 private:
  Builder& b_;
  int next_ = 0;
};

// tanh(x / 3) * 3 as 3 - 6 / (1 + exp(2 x / 3)), in float32: 16-bit numbers would lose the difference.
Value soft_clamp(Builder& b, Value x) {
  const Value e = b.emit(Op::exp, {b.affine(b.cast(x, DType::float32), 2.0 / 3, 0)});
  const Value y = b.emit(Op::div, {b.fill({1}, DType::float32, -6), b.affine(e, 1, 1)});
  return b.cast(b.affine(y, 1, 3), b.dtype());
}

}  // namespace

Graph build_tiny_decoder(const AutoencoderTinyConfig& config, int64_t batch, int64_t height, int64_t width, Builder b) {
  Value x = b.input("latents", b.dtype(), {batch, height, width, config.latent_channels}, Phase::step, "batch,height,width,_");
  x = soft_clamp(b, x);
  const auto scope = b.scope("decoder.layers");
  TinyLayers layers(b);
  x = layers.activation(layers.conv(x, config.decoder_channels, 1, true), config.act_fn);
  for (size_t i = 0; i < config.num_decoder_blocks.size(); ++i) {
    const bool last = i + 1 == config.num_decoder_blocks.size();
    for (int64_t n = 0; n < config.num_decoder_blocks[i]; ++n) x = layers.block(x, config.act_fn);
    if (!last) x = layers.upsample(x);
    x = layers.conv(x, last ? config.out_channels : config.decoder_channels, 1, last);
  }
  b.output("sample", b.affine(x, 2, -1));
  return b.take();
}

Graph build_tiny_encoder(const AutoencoderTinyConfig& config, int64_t batch, int64_t height, int64_t width, Builder b) {
  Value x = b.input("sample", b.dtype(), {batch, height, width, config.in_channels}, Phase::step, "batch,height,width,_");
  x = b.affine(x, 0.5, 0.5);
  const auto scope = b.scope("encoder.layers");
  TinyLayers layers(b);
  for (size_t i = 0; i < config.num_encoder_blocks.size(); ++i) {
    x = layers.conv(x, config.encoder_channels, i == 0 ? 1 : 2, i == 0);
    for (int64_t n = 0; n < config.num_encoder_blocks[i]; ++n) x = layers.block(x, config.act_fn);
  }
  b.output("latents", layers.conv(x, config.latent_channels, 1, true));
  return b.take();
}

}  // namespace vivace
