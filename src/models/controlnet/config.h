// config.json of a ControlNetModel.
#pragma once

#include <vector>

#include "models/unet2d_condition/config.h"

namespace vivace {

struct ControlNetConfig {
  UNetConfig unet;  // of the copy of a UNet's way down and middle
  int64_t conditioning_channels = 3;
  std::vector<int64_t> conditioning_embedding_out_channels;

  // Pixels of the picture a latent pixel.
  int64_t scale() const { return int64_t{1} << (conditioning_embedding_out_channels.size() - 1); }
};

// Throws UserError naming file and field.
ControlNetConfig read_controlnet_config(const Config& config);

}  // namespace vivace
