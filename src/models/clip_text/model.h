// CLIPTextModel and CLIPTextModelWithProjection (transformers models/clip/modeling_clip.py) as a Graph.
#pragma once

#include "models/clip_text/config.h"
#include "ops/builder.h"

namespace vivace {

// Input:   input_ids int32 [N, tokens].
// Outputs: last_hidden_state [N, tokens, C] (after the final norm);
//          hidden_state [N, tokens, C]: what transformers calls hidden_states[-1 - skip], the output of a layer without the final norm;
//          hidden_state_normed: the same behind the final norm (SD 1.x with clip_skip);
//          pooler_output [N, C] at the end-of-text token: the first eos_token_id, or the largest id for old configs that say eos_token_id 2;
//          text_embeds [N, projection_dim] with a projection.
Graph build_clip_text(const CLIPTextConfig& config, int64_t batch, int64_t tokens, int64_t skip, Builder builder);

}  // namespace vivace
