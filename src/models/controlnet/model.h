// ControlNetModel (diffusers models/controlnets/controlnet.py) as a Graph.
#pragma once

#include "models/controlnet/config.h"
#include "models/unet2d_condition/model.h"
#include "ops/builder.h"

namespace vivace {

// Inputs:  those of build_unet, and once a call controlnet_cond [N, scale H, scale W, 3] in 0..1.
// Outputs: down_block_res_samples.0 ..., as many as the UNet has skips, and mid_block_res_sample: what is to be added, not scaled.
Graph build_controlnet(const ControlNetConfig& config, const UNetShape& shape, Builder builder);
inline constexpr const char *kDownSamples = "down_block_res_samples.", *kMidSample = "mid_block_res_sample";

}  // namespace vivace
