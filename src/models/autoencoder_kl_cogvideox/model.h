// AutoencoderKLCogVideoX (diffusers models/autoencoders/autoencoder_kl_cogvideox.py) as Graphs, one a kind of frame batch: a video is encoded and
// decoded in batches of frames, one after another, and every causal convolution sees the last frames of the batch before.
#pragma once

#include <map>

#include "models/autoencoder_kl_cogvideox/config.h"
#include "ops/builder.h"

namespace vivace {

// Frames and size of what is read: latents, or pixels.
struct VideoBatch {
  int64_t batch = 1, frames = 1, height = 1, width = 1;
  bool first = true;
};

// Of the video's first batch the outputs "conv_cache.0", .. are what its last frames leave. Of any other they are states: the inputs
// "conv_cache.0.before",
// .. take them over after each step.

// latents [N, F, h, w, latent] (already divided by the scaling factor) -> sample [N, frames, H, W, out], about -1..1.
Graph build_cogvideox_decoder(const AutoencoderKLCogVideoXConfig& config, const VideoBatch& batch, Builder builder);
// sample [N, F, H, W, in], -1..1 -> moments [N, f, h, w, 2 latent]: mean, then log-variance.
Graph build_cogvideox_encoder(const AutoencoderKLCogVideoXConfig& config, const VideoBatch& batch, Builder builder);

// The sizes of the inputs' dimensions, by their names.
std::map<std::string, int64_t> cogvideox_decoder_sizes(const AutoencoderKLCogVideoXConfig& config, const VideoBatch& batch);
std::map<std::string, int64_t> cogvideox_encoder_sizes(const AutoencoderKLCogVideoXConfig& config, const VideoBatch& batch);

}  // namespace vivace
