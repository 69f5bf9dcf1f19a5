// The way down and the middle of a UNet2DConditionModel, which a ControlNet copies.
#pragma once

#include <vector>

#include "models/unet2d_condition/blocks.h"
#include "models/unet2d_condition/model.h"

namespace vivace {

struct UNetEncoder {
  Conditioning conditioning;
  std::vector<Value> skips;  // of the way up, which takes them from the back
  Value middle;
};

// Height or width that the number of levels does not halve evenly.
inline bool forwards_upsample_size(const UNetConfig& config, const UNetShape& shape) {
  return shape.height % upsample_factor(config) != 0 || shape.width % upsample_factor(config) != 0;
}

BlockSpec spec_of(const UNetConfig& config, size_t level);

// Its inputs are those of build_unet. `beside`, where there is one, is added behind conv_in.
UNetEncoder build_unet_encoder(Builder& b, const UNetConfig& config, const UNetShape& shape, Value beside = {});

}  // namespace vivace
