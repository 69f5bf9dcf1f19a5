// ResnetBlock2D and its samplers (diffusers models/resnet.py, upsampling.py, downsampling.py), shared by UNet and VAE.
#pragma once

#include <string>
#include <vector>

#include "models/common/layers.h"

namespace vivace {

struct ResnetOptions {
  int64_t groups = 32;
  double eps = 1e-5;
  std::string act = "silu";          // an op name
  double output_scale_factor = 1.0;  // the sum is divided by it
  bool time_scale_shift = false;     // the time embedding scales and shifts what norm2 gives, instead of being added before it
};

// x [N, H, W, Cin], temb [N or 1, T] or absent -> [N, H, W, out].
//   h = conv1(act(norm1(x))) + time_emb_proj(act(temb));  h = conv2(act(norm2(h)));  (shortcut(x) + h) / scale
Value resnet_block(Builder& b, std::string_view name, Value x, Value temb, int64_t out, const ResnetOptions& options);

// Nearest 2x (or to the height and width of `like`), then a 3x3 convolution.
Value upsample(Builder& b, std::string_view name, Value x, Value like);

// A 3x3 convolution of stride 2.
Value downsample(Builder& b, std::string_view name, Value x, int64_t out, std::vector<int64_t> padding);

}  // namespace vivace
