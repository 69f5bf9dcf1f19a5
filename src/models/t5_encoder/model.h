// T5EncoderModel and UMT5EncoderModel (transformers models/t5/modeling_t5.py, models/umt5/modeling_umt5.py) as a Graph.
#pragma once

#include "models/t5_encoder/config.h"
#include "ops/builder.h"

namespace vivace {

// Inputs: input_ids int32 [N, tokens]; with `mask` attention_mask float32 [N, tokens], 1 for keys to be seen and 0 for others.
// Output: last_hidden_state [N, tokens, d_model], behind the final norm.
Graph build_t5_encoder(const T5EncoderConfig& config, int64_t batch, int64_t tokens, bool mask, Builder builder);

}  // namespace vivace
