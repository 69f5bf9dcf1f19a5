// AutoencoderKL (diffusers models/autoencoders/autoencoder_kl.py, vae.py) as two Graphs.
#pragma once

#include "models/autoencoder_kl/config.h"
#include "ops/builder.h"

namespace vivace {

// latents [N, h, w, latent] (already divided by the scaling factor) -> sample [N, H, W, out], about -1..1.
Graph build_vae_decoder(const AutoencoderKLConfig& config, int64_t batch, int64_t height, int64_t width, Builder builder);
// sample [N, H, W, in], -1..1 -> moments [N, h, w, 2 latent]: mean, then log-variance.
Graph build_vae_encoder(const AutoencoderKLConfig& config, int64_t batch, int64_t height, int64_t width, Builder builder);

}  // namespace vivace
