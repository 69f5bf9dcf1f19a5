// AuraFlowTransformer2DModel (diffusers models/transformers/auraflow_transformer_2d.py) as a Graph.
#pragma once

#include "models/aura_flow_transformer_2d/config.h"
#include "ops/builder.h"

namespace vivace {

struct AuraFlowTransformer2DShape {
  int64_t batch = 1, height = 128, width = 128;  // of the latents, multiples of patch_size
  int64_t tokens = 256;                          // of the prompt
};

// Inputs:  hidden_states [N, H, W, in], timestep float32 [1] (0..1); once a prompt encoder_hidden_states [N, tokens, joint_attention_dim].
// Output:  sample [N, H, W, out].
// Dynamic but for N: a graph is of so many images.
Graph build_aura_flow_transformer_2d(const AuraFlowTransformer2DConfig& config, const AuraFlowTransformer2DShape& shape, Builder builder);

}  // namespace vivace
