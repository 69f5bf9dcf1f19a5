#include "models/common/resnet.h"

namespace vivace {

Value resnet_block(Builder& b, std::string_view name, Value x, Value temb, int64_t out, const ResnetOptions& options) {
  const auto scope = b.scope(name, "ResnetBlock2D");
  const auto act = [&](Value v) { return b.activation(v, options.act); };
  const auto norm = [&](std::string_view norm_name, Value v) { return group_norm(b, norm_name, v, options.groups, options.eps); };
  Value h = conv2d_same(b, "conv1", act(norm("norm1", x)), out, 3);
  Value time;
  if (temb) {
    const int64_t width = options.time_scale_shift ? 2 * out : out;
    time = b.reshape(linear(b, "time_emb_proj", act(temb), width), {0, 1, 1, width});
  }
  if (time && !options.time_scale_shift) h = b.add(h, time);
  h = norm("norm2", h);
  if (time && options.time_scale_shift) h = b.add(b.mul(h, b.affine(b.slice(time, -1, 0, out), 1, 1)), b.slice(time, -1, out, 2 * out));
  h = conv2d_same(b, "conv2", act(h), out, 3);
  const Value shortcut = b.channels(x) == out ? x : conv2d_same(b, "conv_shortcut", x, out, 1);
  const Value sum = b.add(shortcut, h);
  return options.output_scale_factor == 1.0 ? sum : b.affine(sum, 1.0 / options.output_scale_factor, 0);
}

Value upsample(Builder& b, std::string_view name, Value x, Value like) {
  const auto scope = b.scope(name, "Upsample2D");
  return conv2d_same(b, "conv", b.emit(Op::upsample_nearest, {x, like}), b.channels(x), 3);
}

Value downsample(Builder& b, std::string_view name, Value x, int64_t out, std::vector<int64_t> padding) {
  const auto scope = b.scope(name, "Downsample2D");
  return conv2d(b, "conv", x, out, 3, 2, std::move(padding));
}

}  // namespace vivace
