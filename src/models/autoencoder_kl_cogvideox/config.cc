#include "models/autoencoder_kl_cogvideox/config.h"

#include "models/common/config_fields.h"

namespace vivace {

AutoencoderKLCogVideoXConfig read_autoencoder_kl_cogvideox_config(const Config& c) {
  AutoencoderKLCogVideoXConfig v;
  v.in_channels = c.get_or<int64_t>("in_channels", 3);
  v.out_channels = c.get_or<int64_t>("out_channels", 3);
  v.latent_channels = c.get_or<int64_t>("latent_channels", 16);
  v.layers_per_block = c.get_or<int64_t>("layers_per_block", 3);
  v.norm_num_groups = c.get_or<int64_t>("norm_num_groups", 32);
  v.block_out_channels = c.get_or<std::vector<int64_t>>("block_out_channels", {128, 256, 256, 512});
  v.act_fn = activation_field(c, "act_fn", "silu");
  v.norm_eps = c.get_or<double>("norm_eps", 1e-6);
  v.temporal_compression_ratio = c.get_or<int64_t>("temporal_compression_ratio", 4);
  v.sample_height = c.get_or<int64_t>("sample_height", 480);
  v.sample_width = c.get_or<int64_t>("sample_width", 720);
  v.scaling_factor = c.get_or<double>("scaling_factor", 1.15258426);
  v.shift_factor = c.get_or<double>("shift_factor", 0);
  v.invert_scale_latents = c.get_or<bool>("invert_scale_latents", false);
  // Diffusers makes them as wide as pictures, so latents have to be.
  for (const auto& [key, used] : {std::pair{"use_quant_conv", &v.use_quant_conv}, {"use_post_quant_conv", &v.use_post_quant_conv}}) {
    *used = c.get_or<bool>(key, false);
    if (*used && v.latent_channels != v.out_channels) c.unsupported(key, "false where latent_channels and out_channels differ");
  }
  const auto blocks = [&](const char* key, std::string_view known) {
    for (const std::string& type : c.get_or<std::vector<std::string>>(key, {}))
      if (type != known) c.unsupported(key, known);
  };
  blocks("down_block_types", "CogVideoXDownBlock3D");
  blocks("up_block_types", "CogVideoXUpBlock3D");
  for (const auto& [key, value] : {std::pair{"in_channels", v.in_channels}, {"out_channels", v.out_channels}, {"latent_channels", v.latent_channels}})
    if (value <= 0) c.unsupported(key, "a positive number");
  if (v.block_out_channels.empty() || v.block_out_channels.size() > 8) c.unsupported("block_out_channels", "1 to 8 blocks");
  if (v.layers_per_block < 0 || v.layers_per_block > 1024) c.unsupported("layers_per_block", "0 to 1024");
  for (int64_t channels : v.block_out_channels)
    if (v.norm_num_groups <= 0 || channels <= 0 || channels % v.norm_num_groups)
      c.unsupported("norm_num_groups", "a divisor of every entry of block_out_channels");
  const int64_t ratio = v.temporal_compression_ratio;
  if (ratio < 1 || (ratio & (ratio - 1)) != 0 || ratio > v.scale()) c.unsupported("temporal_compression_ratio", "a power of two, of a sampler each");
  for (const auto& [key, value] : {std::pair{"sample_height", v.sample_height}, {"sample_width", v.sample_width}})
    if (value <= 0) c.unsupported(key, "a positive number");
  if (!(v.scaling_factor > 0)) c.unsupported("scaling_factor", "a positive number");
  return v;
}

}  // namespace vivace
