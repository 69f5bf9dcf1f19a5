// The blocks of UNet2DConditionModel (diffusers models/unets/unet_2d_blocks.py, transformer_2d.py, attention.py).
#pragma once

#include <vector>

#include "models/common/resnet.h"
#include "models/unet2d_condition/config.h"

namespace vivace {

// What every block is given: the prompt [N, T, cross_attention_dim] and the embedded time [N, 4 C].
struct Conditioning {
  Value encoder_hidden_states, temb;
};

// One level of the UNet.
struct BlockSpec {
  std::string type;  // the Diffusers class
  int64_t out_channels = 0, heads = 1;
  std::vector<int64_t> layers;  // one entry a resnet: the transformer blocks behind it
  bool only_cross_attention = false;
  bool resample = false;               // a down- or upsampler at the end
  bool forward_upsample_size = false;  // upsample to the skip's size instead of doubling
};

// x [N, S, C], context [N, T, D] -> [N, S, C]: self-attention, cross-attention, feed-forward, each behind a LayerNorm and with a residual.
Value basic_transformer_block(Builder& b, std::string_view name, Value x, Value context, int64_t heads, bool only_cross_attention);
// x [N, H, W, C] -> the same, `layers` transformer blocks inside.
Value transformer_2d(Builder& b, std::string_view name, Value x, Value context, int64_t layers, const BlockSpec& spec, const UNetConfig& config);

// Appends each intermediate result to `skips` for the way up.
Value down_block(Builder& b, std::string_view name, Value x, const Conditioning& c, const BlockSpec& spec, const UNetConfig& config,
                 std::vector<Value>& skips);
Value mid_block(Builder& b, std::string_view name, Value x, const Conditioning& c, const BlockSpec& spec, const UNetConfig& config);
// Takes its skips from the back of `skips`.
Value up_block(Builder& b, std::string_view name, Value x, const Conditioning& c, const BlockSpec& spec, const UNetConfig& config,
               std::vector<Value>& skips);

}  // namespace vivace
