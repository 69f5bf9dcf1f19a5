#include "models/aura_flow_transformer_2d/config.h"

#include "ops/positions.h"

namespace vivace {

AuraFlowTransformer2DConfig read_aura_flow_transformer_2d_config(const Config& c) {
  AuraFlowTransformer2DConfig a;
  a.sample_size = c.get_or<int64_t>("sample_size", 64);
  a.patch_size = c.get_or<int64_t>("patch_size", 2);
  a.in_channels = c.get_or<int64_t>("in_channels", 4);
  // null means in_channels; a missing field the default.
  a.out_channels = c.has("out_channels") ? c.get_or<int64_t>("out_channels", a.in_channels) : 4;
  a.num_mmdit_layers = c.get_or<int64_t>("num_mmdit_layers", 4);
  a.num_single_dit_layers = c.get_or<int64_t>("num_single_dit_layers", 32);
  a.attention_head_dim = c.get_or<int64_t>("attention_head_dim", 256);
  a.num_attention_heads = c.get_or<int64_t>("num_attention_heads", 12);
  a.joint_attention_dim = c.get_or<int64_t>("joint_attention_dim", 2048);
  a.pos_embed_max_size = c.get_or<int64_t>("pos_embed_max_size", 1024);
  for (const auto& [key, size] : {std::pair{"sample_size", a.sample_size},
                                  {"patch_size", a.patch_size},
                                  {"in_channels", a.in_channels},
                                  {"out_channels", a.out_channels},
                                  {"attention_head_dim", a.attention_head_dim},
                                  {"num_attention_heads", a.num_attention_heads},
                                  {"joint_attention_dim", a.joint_attention_dim}})
    if (size < 1) c.unsupported(key, "at least 1");
  for (const auto& [key, count] : {std::pair{"num_mmdit_layers", a.num_mmdit_layers}, {"num_single_dit_layers", a.num_single_dit_layers}})
    if (count < 0 || count > 1024) c.unsupported(key, "0 to 1024");
  if (square_side(a.pos_embed_max_size) == 0) c.unsupported("pos_embed_max_size", "a square number");
  if (c.get_or<int64_t>("caption_projection_dim", 3072) != a.inner_dim())
    c.unsupported("caption_projection_dim", "attention_head_dim times num_attention_heads");
  return a;
}

}  // namespace vivace
