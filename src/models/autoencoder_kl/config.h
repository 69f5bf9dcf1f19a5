// vae/config.json of an AutoencoderKL.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace vivace {

struct AutoencoderKLConfig {
  int64_t in_channels = 3, out_channels = 3, latent_channels = 4, layers_per_block = 1, norm_num_groups = 32;
  std::vector<int64_t> block_out_channels;
  std::string act_fn = "silu";
  int64_t sample_size = 32;  // pixels of a tile's side
  double scaling_factor = 0.18215, shift_factor = 0;
  std::vector<float> latents_mean, latents_std;  // empty, or one a latent channel
  bool force_upcast = true, use_quant_conv = true, use_post_quant_conv = true, mid_block_add_attention = true;

  // Image pixels a latent pixel.
  int64_t scale() const { return int64_t{1} << (block_out_channels.size() - 1); }
};

// Throws UserError naming file and field.
AutoencoderKLConfig read_autoencoder_kl_config(const Config& config);

}  // namespace vivace
