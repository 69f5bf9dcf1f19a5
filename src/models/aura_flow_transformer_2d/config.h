// transformer/config.json of an AuraFlowTransformer2DModel, under its own field names.
#pragma once

#include "base/json.h"

namespace vivace {

struct AuraFlowTransformer2DConfig {
  int64_t sample_size = 64, patch_size = 2, in_channels = 4, out_channels = 4;
  int64_t num_mmdit_layers = 4, num_single_dit_layers = 32;
  int64_t attention_head_dim = 256, num_attention_heads = 12;
  int64_t joint_attention_dim = 2048;
  int64_t pos_embed_max_size = 1024;  // entries of a square table

  int64_t inner_dim() const { return num_attention_heads * attention_head_dim; }
};

// Throws UserError naming file and field.
AuraFlowTransformer2DConfig read_aura_flow_transformer_2d_config(const Config& config);

}  // namespace vivace
