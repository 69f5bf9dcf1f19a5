// transformer/config.json of a FluxTransformer2DModel, under its own field names.
#pragma once

#include <vector>

#include "base/json.h"

namespace vivace {

struct FluxTransformer2DConfig {
  int64_t patch_size = 1, in_channels = 64, out_channels = 64;
  int64_t num_layers = 19, num_single_layers = 38;
  int64_t attention_head_dim = 128, num_attention_heads = 24;
  int64_t joint_attention_dim = 4096, pooled_projection_dim = 768;
  bool guidance_embeds = false;
  std::vector<int64_t> axes_dims_rope{16, 56, 56};

  int64_t inner_dim() const { return num_attention_heads * attention_head_dim; }
};

// Throws UserError naming file and field.
FluxTransformer2DConfig read_flux_transformer_2d_config(const Config& config);

}  // namespace vivace
