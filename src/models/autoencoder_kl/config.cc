#include "models/autoencoder_kl/config.h"

#include <algorithm>

#include "base/json.h"
#include "models/common/config_fields.h"

namespace vivace {
namespace {

std::vector<float> per_channel(const Config& c, const char* key, int64_t channels) {
  const auto values = c.get_or<std::vector<double>>(key, {});
  if (!values.empty() && static_cast<int64_t>(values.size()) != channels) c.unsupported(key, "one number a latent channel");
  return {values.begin(), values.end()};
}

}  // namespace

AutoencoderKLConfig read_autoencoder_kl_config(const Config& c) {
  AutoencoderKLConfig v;
  v.in_channels = c.get_or<int64_t>("in_channels", 3);
  v.out_channels = c.get_or<int64_t>("out_channels", 3);
  v.latent_channels = c.get_or<int64_t>("latent_channels", 4);
  v.layers_per_block = c.get_or<int64_t>("layers_per_block", 1);
  v.norm_num_groups = c.get_or<int64_t>("norm_num_groups", 32);
  v.block_out_channels = c.get_or<std::vector<int64_t>>("block_out_channels", {64});
  v.act_fn = activation_field(c, "act_fn", "silu");
  v.sample_size = c.is_list("sample_size") ? c.get<std::vector<int64_t>>("sample_size").at(0) : c.get_or<int64_t>("sample_size", 32);
  v.scaling_factor = c.get_or<double>("scaling_factor", 0.18215);
  v.shift_factor = c.get_or<double>("shift_factor", 0);
  v.latents_mean = per_channel(c, "latents_mean", v.latent_channels);
  v.latents_std = per_channel(c, "latents_std", v.latent_channels);
  v.force_upcast = c.get_or<bool>("force_upcast", true);
  v.use_quant_conv = c.get_or<bool>("use_quant_conv", true);
  v.use_post_quant_conv = c.get_or<bool>("use_post_quant_conv", true);
  v.mid_block_add_attention = c.get_or<bool>("mid_block_add_attention", true);
  const auto blocks = [&](const char* key, std::string_view known) {
    for (const std::string& type : c.get_or<std::vector<std::string>>(key, {}))
      if (type != known) c.unsupported(key, known);
  };
  blocks("down_block_types", "DownEncoderBlock2D");
  blocks("up_block_types", "UpDecoderBlock2D");
  if (v.block_out_channels.empty() || v.block_out_channels.size() > 8) c.unsupported("block_out_channels", "1 to 8 blocks");
  if (v.layers_per_block < 0 || v.layers_per_block > 1024) c.unsupported("layers_per_block", "0 to 1024");
  for (int64_t channels : v.block_out_channels)
    if (v.norm_num_groups <= 0 || channels <= 0 || channels % v.norm_num_groups)
      c.unsupported("norm_num_groups", "a divisor of every entry of block_out_channels");
  if (!(v.scaling_factor > 0)) c.unsupported("scaling_factor", "a positive number");
  return v;
}

}  // namespace vivace
