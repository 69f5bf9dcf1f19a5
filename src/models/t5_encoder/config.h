// text_encoder_2/config.json of a T5EncoderModel, text_encoder/config.json of a UMT5EncoderModel.
#pragma once

#include <optional>
#include <string>

#include "base/json.h"

namespace vivace {

struct T5EncoderConfig {
  int64_t vocab_size = 32128, d_model = 512, d_kv = 64, d_ff = 2048, num_layers = 6, num_heads = 8;
  int64_t relative_attention_num_buckets = 32, relative_attention_max_distance = 128;
  bool is_gated_act = false;  // of feed_forward_proj
  std::string act = "relu";   // an op name
  double layer_norm_epsilon = 1e-6;
  std::optional<int64_t> eos_token_id, pad_token_id;  // of the tokenizer that it was trained with, where the file says so
  bool bias_in_every_block = false;                   // UMT5: each block has a table of position biases; T5: the first one's serves all
};

// Throws UserError naming file and field.
T5EncoderConfig read_t5_encoder_config(const Config& config);

}  // namespace vivace
