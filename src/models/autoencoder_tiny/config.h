// vae/config.json of an AutoencoderTiny (TAESD).
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace vivace {

struct AutoencoderTinyConfig {
  int64_t in_channels = 3, out_channels = 3, latent_channels = 4;
  int64_t encoder_channels = 64, decoder_channels = 64;         // every entry of *_block_out_channels
  std::vector<int64_t> num_encoder_blocks, num_decoder_blocks;  // one entry a level
  std::string act_fn = "relu";
  double scaling_factor = 1, shift_factor = 0;

  // Image pixels a latent pixel.
  int64_t scale() const { return int64_t{1} << (num_decoder_blocks.size() - 1); }
  int64_t encoder_scale() const { return int64_t{1} << (num_encoder_blocks.size() - 1); }
};

// Throws UserError naming file and field.
AutoencoderTinyConfig read_autoencoder_tiny_config(const Config& config);

}  // namespace vivace
