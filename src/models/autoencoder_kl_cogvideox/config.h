// vae/config.json of an AutoencoderKLCogVideoX.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace vivace {

struct AutoencoderKLCogVideoXConfig {
  int64_t in_channels = 3, out_channels = 3, latent_channels = 16, layers_per_block = 3, norm_num_groups = 32;
  std::vector<int64_t> block_out_channels;
  std::string act_fn = "silu";
  double norm_eps = 1e-6;
  int64_t temporal_compression_ratio = 4;
  int64_t sample_height = 480, sample_width = 720;  // pixels of a video; of a tile half as many
  double scaling_factor = 1.15258426, shift_factor = 0;
  bool invert_scale_latents = false, use_quant_conv = false, use_post_quant_conv = false;

  // Pixels a latent pixel.
  int64_t scale() const { return int64_t{1} << (block_out_channels.size() - 1); }
  // Whether a sampler of this block, counted from the pixels in the encoder and from the latents in the decoder, halves or doubles time too.
  bool compresses_time(size_t block) const { return (int64_t{1} << block) < temporal_compression_ratio; }
  // Of a batch, or of a whole video's batches: with an odd number of latent frames the first of them is one frame, and any other doubles each time.
  int64_t decoded_frames(int64_t latent_frames) const {
    return latent_frames % 2 ? temporal_compression_ratio * (latent_frames - 1) + 1 : temporal_compression_ratio * latent_frames;
  }
  // Of a batch: an odd number of frames keeps the first one apart, each time.
  int64_t encoded_frames(int64_t frames) const { return (frames + temporal_compression_ratio - 1) / temporal_compression_ratio; }
};

// Throws UserError naming file and field.
AutoencoderKLCogVideoXConfig read_autoencoder_kl_cogvideox_config(const Config& config);

}  // namespace vivace
