#include "models/flux_transformer_2d/config.h"

#include <numeric>

namespace vivace {

FluxTransformer2DConfig read_flux_transformer_2d_config(const Config& c) {
  FluxTransformer2DConfig f;
  f.patch_size = c.get_or<int64_t>("patch_size", 1);
  f.in_channels = c.get_or<int64_t>("in_channels", 64);
  f.out_channels = c.get_or<int64_t>("out_channels", f.in_channels);
  f.num_layers = c.get_or<int64_t>("num_layers", 19);
  f.num_single_layers = c.get_or<int64_t>("num_single_layers", 38);
  f.attention_head_dim = c.get_or<int64_t>("attention_head_dim", 128);
  f.num_attention_heads = c.get_or<int64_t>("num_attention_heads", 24);
  f.joint_attention_dim = c.get_or<int64_t>("joint_attention_dim", 4096);
  f.pooled_projection_dim = c.get_or<int64_t>("pooled_projection_dim", 768);
  f.guidance_embeds = c.get_or<bool>("guidance_embeds", false);
  f.axes_dims_rope = c.get_or<std::vector<int64_t>>("axes_dims_rope", f.axes_dims_rope);
  for (const auto& [key, size] : {std::pair{"patch_size", f.patch_size},
                                  {"in_channels", f.in_channels},
                                  {"out_channels", f.out_channels},
                                  {"attention_head_dim", f.attention_head_dim},
                                  {"num_attention_heads", f.num_attention_heads},
                                  {"joint_attention_dim", f.joint_attention_dim},
                                  {"pooled_projection_dim", f.pooled_projection_dim}})
    if (size < 1) c.unsupported(key, "at least 1");
  for (const auto& [key, count] : {std::pair{"num_layers", f.num_layers}, {"num_single_layers", f.num_single_layers}})
    if (count < 0 || count > 1024) c.unsupported(key, "0 to 1024");
  for (int64_t dim : f.axes_dims_rope)
    if (dim < 2 || dim % 2) c.unsupported("axes_dims_rope", "even sizes");
  if (f.axes_dims_rope.size() != 3 || std::accumulate(f.axes_dims_rope.begin(), f.axes_dims_rope.end(), int64_t{0}) != f.attention_head_dim)
    c.unsupported("axes_dims_rope", "three sizes that add up to attention_head_dim");
  return f;
}

}  // namespace vivace
