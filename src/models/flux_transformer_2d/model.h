// FluxTransformer2DModel (diffusers models/transformers/transformer_flux.py) as a Graph.
#pragma once

#include "models/flux_transformer_2d/config.h"
#include "ops/builder.h"

namespace vivace {

struct FluxTransformer2DShape {
  int64_t batch = 1;
  int64_t image_tokens = 4096;   // of the packed latents
  int64_t condition_tokens = 0;  // of packed pictures beside them (Kontext), which the model reads and predicts nothing for
  int64_t tokens = 512;          // of the prompt
};

// Inputs:  hidden_states [N, image_tokens, in], timestep float32 [1] (0..1);
//          once a prompt: image_latents [N, condition_tokens, in] where there are any, encoder_hidden_states [N, tokens, joint_attention_dim],
//          pooled_projections [N, P], with guidance_embeds guidance float32 [N],
//          txt_ids float32 [tokens, 3] and img_ids float32 [image_tokens, 3], with image_latents image_latents_ids float32
//          [condition_tokens, 3].
// Output:  sample [N, image_tokens, patch_size^2 * out].
// Dynamic but for N: a graph is of so many images.
Graph build_flux_transformer_2d(const FluxTransformer2DConfig& config, const FluxTransformer2DShape& shape, Builder builder);

}  // namespace vivace
