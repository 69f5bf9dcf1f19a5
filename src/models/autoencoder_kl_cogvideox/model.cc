#include "models/autoencoder_kl_cogvideox/model.h"

#include "base/log.h"
#include "models/common/layers.h"

namespace vivace {
namespace {

constexpr int64_t kCached = 2;  // frames that a kernel of three sees before its own
constexpr int64_t kTime = 1;    // the axis

// What the layers of one graph share.
class Layers {
 public:
  Layers(const AutoencoderKLCogVideoXConfig& config, const VideoBatch& batch, Builder& b) : config_(config), batch_(batch), b_(b) {}

  Value input(std::string_view name, int64_t channels) {
    return b_.input(name, b_.dtype(), {batch_.batch, batch_.frames, batch_.height, batch_.width, channels}, Phase::step, "batch,_,height,width,_");
  }

  // CogVideoXCausalConv3d of 3x3x3: before the first frame of a video it stands still.
  Value causal_conv(std::string_view name, Value x, int64_t out) {
    const auto scope = b_.scope(name);
    const std::string cache = cat("conv_cache.", caches_++);
    const Shape s = b_.shape(x);
    Value before;
    if (!batch_.first) {
      const std::string dims = level_ == 0 ? "batch,_,height,width,_" : cat("batch,_,height_", level_, ",width_", level_, ",_");
      before = b_.input(cache + ".before", b_.dtype(), {s[0], kCached, s[2], s[3], s[4]}, Phase::step, dims);
    }
    const Value still = batch_.first ? b_.slice(x, kTime, 0, 1) : Value{};
    const Value frames = b_.concat(batch_.first ? std::vector{still, still, x} : std::vector{before, x}, kTime);
    const Value last = b_.slice(frames, kTime, s[1], s[1] + kCached);
    if (batch_.first)
      b_.output(cache, last);
    else
      b_.state(before, cache, last);
    const Value w = b_.weight("conv.weight", {out, s[4], kCached + 1, 3, 3});
    return b_.emit(Op::conv3d, {frames, w, b_.weight("conv.bias", {out})}, {{"padding", std::vector<int64_t>{1, 1, 1, 1}}});
  }

  // z: the latents, of a decoder.
  Value resnet(std::string_view name, Value x, Value z, int64_t out) {
    const auto scope = b_.scope(name, "CogVideoXResnetBlock3D");
    const auto act = [&](Value v) { return b_.activation(v, config_.act_fn); };
    Value h = causal_conv("conv1", act(norm("norm1", x, z, config_.norm_eps)), out);
    h = causal_conv("conv2", act(norm("norm2", h, z, config_.norm_eps)), out);
    return b_.add(b_.channels(x) == out ? x : pointwise("conv_shortcut", x, out), h);
  }

  // A convolution of 1x1x1.
  Value pointwise(std::string_view name, Value x, int64_t out) {
    const auto scope = b_.scope(name);
    const Value w = b_.reshape(b_.weight("weight", {out, b_.channels(x), 1, 1, 1}), {0, -1});
    return b_.emit(Op::linear, {x, w, b_.weight("bias", {out})});
  }

  // silu and the last convolution; act_fn is the resnets' alone.
  Value head(Value x, Value z, int64_t out) {
    constexpr double kEps = 1e-6;
    return causal_conv("conv_out", b_.activation(norm("norm_out", x, z, kEps), "silu"), out);
  }

  Value mid_block(Value x, Value z) {
    const auto scope = b_.scope("mid_block");
    for (int64_t i = 0; i < 2; ++i) x = resnet(item("resnets", i), x, z, b_.channels(x));
    return x;
  }

  // Nearest 2x, then a convolution of each frame. Doubled frames are equal, so they are doubled behind it.
  Value upsample(Value x, bool time) {
    const auto scope = b_.scope("upsamplers.0", "CogVideoXUpsample3D");
    ++level_;
    const Value y = conv2d_same(b_, "conv", b_.emit(Op::upsample_nearest, {x}), b_.channels(x), 3);
    const int64_t frames = b_.shape(x)[kTime];
    if (!time || frames == 1) return y;
    return b_.emit(Op::repeat_interleave, {y}, {{"axis", kTime}, {"repeats", int64_t{2}}, {"keep", frames % 2}});
  }

  Value downsample(Value x, bool time) {
    const auto scope = b_.scope("downsamplers.0", "CogVideoXDownsample3D");
    ++level_;
    const int64_t frames = b_.shape(x)[kTime];
    if (time && frames > 1) x = b_.emit(Op::avg_pool, {x}, {{"axis", kTime}, {"size", int64_t{2}}, {"keep", frames % 2}});
    return conv2d(b_, "conv", x, b_.channels(x), 3, 2, {0, 0, 1, 1});
  }

 private:
  // GroupNorm, or CogVideoXSpatialNorm3D, whose own eps is 1e-6.
  Value norm(std::string_view name, Value x, Value z, double eps) {
    if (!z) return group_norm(b_, name, x, config_.norm_num_groups, eps);
    constexpr double kSpatialEps = 1e-6;
    const auto scope = b_.scope(name);
    const int64_t channels = b_.channels(x), latents = b_.channels(z);
    // [Z, C] and [C] of a 1x1x1 convolution.
    const auto map = [&](std::string_view conv) {
      const auto inside = b_.scope(cat(conv, ".conv"));
      const Value w = b_.transpose(b_.reshape(b_.weight("weight", {channels, latents, 1, 1, 1}), {0, -1}), {1, 0});
      return std::pair(w, b_.weight("bias", {channels}));
    };
    Value weight, bias;
    {
      const auto inside = b_.scope("norm_layer");
      weight = b_.weight("weight", {channels}), bias = b_.weight("bias", {channels});
    }
    const auto [scale, scale_bias] = map("conv_y");
    const auto [shift, shift_bias] = map("conv_b");
    return b_.emit(Op::spatial_norm, {x, weight, bias, z, scale, scale_bias, shift, shift_bias},
                   {{"groups", config_.norm_num_groups}, {"eps", kSpatialEps}});
  }

  const AutoencoderKLCogVideoXConfig& config_;
  const VideoBatch& batch_;
  Builder& b_;
  int caches_ = 0, level_ = 0;  // samplers so far
};

// `next`: a side of the level behind that of this side.
template <class Next>
std::map<std::string, int64_t> sizes(const AutoencoderKLCogVideoXConfig& config, const VideoBatch& batch, const Next& next) {
  std::map<std::string, int64_t> all{{"batch", batch.batch}, {"height", batch.height}, {"width", batch.width}};
  if (batch.first) return all;
  int64_t height = batch.height, width = batch.width;
  for (size_t level = 1; level < config.block_out_channels.size(); ++level) {
    all[cat("height_", level)] = height = next(height);
    all[cat("width_", level)] = width = next(width);
  }
  return all;
}

}  // namespace

Graph build_cogvideox_decoder(const AutoencoderKLCogVideoXConfig& config, const VideoBatch& batch, Builder b) {
  Layers layers(config, batch, b);
  Value z = layers.input("latents", config.latent_channels);
  if (config.use_post_quant_conv) z = layers.pointwise("post_quant_conv", z, config.latent_channels);
  const auto scope = b.scope("decoder");
  const size_t levels = config.block_out_channels.size();
  Value x = layers.causal_conv("conv_in", z, config.block_out_channels.back());
  x = layers.mid_block(x, z);
  for (size_t i = 0; i < levels; ++i) {
    const auto block = b.scope(item("up_blocks", i));
    for (int64_t j = 0; j <= config.layers_per_block; ++j) x = layers.resnet(item("resnets", j), x, z, config.block_out_channels[levels - 1 - i]);
    if (i + 1 < levels) x = layers.upsample(x, config.compresses_time(i));
  }
  b.output("sample", layers.head(x, z, config.out_channels));
  return b.take();
}

Graph build_cogvideox_encoder(const AutoencoderKLCogVideoXConfig& config, const VideoBatch& batch, Builder b) {
  Layers layers(config, batch, b);
  Value x = layers.input("sample", config.in_channels);
  {
    const auto scope = b.scope("encoder");
    const size_t levels = config.block_out_channels.size();
    x = layers.causal_conv("conv_in", x, config.block_out_channels[0]);
    for (size_t i = 0; i < levels; ++i) {
      const auto block = b.scope(item("down_blocks", i));
      for (int64_t j = 0; j < config.layers_per_block; ++j) x = layers.resnet(item("resnets", j), x, {}, config.block_out_channels[i]);
      if (i + 1 < levels) x = layers.downsample(x, config.compresses_time(i));
    }
    x = layers.head(layers.mid_block(x, {}), {}, 2 * config.latent_channels);
  }
  if (config.use_quant_conv) x = layers.pointwise("quant_conv", x, 2 * config.latent_channels);
  b.output("moments", x);
  return b.take();
}

std::map<std::string, int64_t> cogvideox_decoder_sizes(const AutoencoderKLCogVideoXConfig& config, const VideoBatch& batch) {
  return sizes(config, batch, [](int64_t side) { return 2 * side; });
}

std::map<std::string, int64_t> cogvideox_encoder_sizes(const AutoencoderKLCogVideoXConfig& config, const VideoBatch& batch) {
  // A 3x3 window every other pixel, with one pixel below and to the right.
  return sizes(config, batch, [](int64_t side) { return (side - 2) / 2 + 1; });
}

}  // namespace vivace
