// AutoencoderTiny (diffusers models/autoencoders/autoencoder_tiny.py, vae.py) as two Graphs.
#pragma once

#include "models/autoencoder_tiny/config.h"
#include "ops/builder.h"

namespace vivace {

// latents [N, h, w, latent] -> sample [N, H, W, out], about -1..1.
Graph build_tiny_decoder(const AutoencoderTinyConfig& config, int64_t batch, int64_t height, int64_t width, Builder builder);
// sample [N, H, W, in], -1..1 -> latents [N, h, w, latent].
Graph build_tiny_encoder(const AutoencoderTinyConfig& config, int64_t batch, int64_t height, int64_t width, Builder builder);

}  // namespace vivace
