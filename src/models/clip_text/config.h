// text_encoder/config.json of a CLIPTextModel or CLIPTextModelWithProjection.
#pragma once

#include <string>

#include "base/json.h"

namespace vivace {

struct CLIPTextConfig {
  int64_t vocab_size = 49408, hidden_size = 768, intermediate_size = 3072, num_hidden_layers = 12, num_attention_heads = 12;
  int64_t max_position_embeddings = 77, projection_dim = 768;
  std::string hidden_act = "quick_gelu";  // an op name
  double layer_norm_eps = 1e-5;
  int64_t eos_token_id = 49407;
  // What "architectures" says: CLIPTextModelWithProjection, or CLIPTextModel. Neither where it is silent: the weights decide.
  bool with_projection = false, without_projection = false;
};

// Throws UserError naming file and field.
CLIPTextConfig read_clip_text_config(const Config& config);

}  // namespace vivace
