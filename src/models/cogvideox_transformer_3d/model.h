// CogVideoXTransformer3DModel (diffusers models/transformers/cogvideox_transformer_3d.py) as a Graph.
#pragma once

#include "models/cogvideox_transformer_3d/config.h"
#include "ops/builder.h"

namespace vivace {

struct CogVideoXTransformer3DShape {
  int64_t batch = 1, video_tokens = 17550;  // patches of the video
  int64_t tokens = 226;                     // of the prompt
  bool learned = false;                     // with learned positions, which are of one size: own_tokens() and max_text_seq_length
};

// Inputs:  hidden_states [N, video_tokens, in_channels * patch_values()], packed (tokens.h), timestep float32 [1]; once a prompt
//          encoder_hidden_states [N, tokens, text_embed_dim], float32 positions [tokens or video_tokens, 3] of frame, row and column: with rotary
//          positions txt_ids and video_ids, with a table of sines grid; with an ofs embedding ofs float32 [1].
// Output:  sample [N, video_tokens, out_channels * patch_values()].
Graph build_cogvideox_transformer_3d(const CogVideoXTransformer3DConfig& config, const CogVideoXTransformer3DShape& shape, Builder builder);

// The smallest shape whose graph reads every weight.
CogVideoXTransformer3DShape smallest_cogvideox_transformer_3d(const CogVideoXTransformer3DConfig& config);

}  // namespace vivace
