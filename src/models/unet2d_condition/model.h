// UNet2DConditionModel (diffusers models/unets/unet_2d_condition.py) as a Graph.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "models/unet2d_condition/config.h"
#include "ops/builder.h"

namespace vivace {

struct UNetShape {
  int64_t batch = 1, height = 128, width = 128;  // of the latents
  int64_t tokens = 77;                           // of the prompt
  int64_t timesteps = 1;                         // one for the whole batch, or one an image
  int64_t time_ids = 0;                          // with "text_time": how many; 0: config.time_id_count
  bool controlled = false;                       // with what ControlNets add to the skips and the middle
};

// Inputs of a controlled UNet: the first with a number for each skip, both of the shapes that they are added to.
inline constexpr const char *kDownResiduals = "down_block_additional_residuals.", *kMidResidual = "mid_block_additional_residual";
// The level (0: not halved yet) of each skip, in the order in which they are made.
std::vector<size_t> skip_levels(const UNetConfig& config);
// "height_1", "width_1", ...: what those inputs' dimensions are called below the first level.
std::map<std::string, int64_t> level_sizes(const UNetConfig& config, const UNetShape& shape);

// Inputs:  sample [N, H, W, in], timestep float32 [timesteps];
//          once a prompt: encoder_hidden_states [N, tokens, cross_attention_dim], and with addition_embed_type "text_time"
//          text_embeds [N, P] and time_ids float32 [N, time_ids], which share projection_class_embeddings_input_dim;
//          with time_cond_proj_dim timestep_cond [N, time_cond_proj_dim].
// Output:  sample [N, H, W, out].
// Height and width that upsample_factor(config) divides take the faster way up: upsampling that doubles (Diffusers' forward_upsample_size is false).
Graph build_unet(const UNetConfig& config, const UNetShape& shape, Builder builder);

// 2 for each level but the last: default_overall_up_factor.
inline int64_t upsample_factor(const UNetConfig& config) { return int64_t{1} << (config.block_out_channels.size() - 1); }

}  // namespace vivace
