// From what a VAE gives to pictures.
#pragma once

#include <string>

#include "vivace/image.h"

namespace vivace {

// [1, 3, H, W] in about -1..1 -> a picture. Throws UserError that names the VAE's folder for a NaN or an infinity.
Image to_image(const Tensor& sample, const std::string& vae_folder);

// A picture as VaeImageProcessor prepares it: of that size, float32 [1, 3, height, width] in -1..1.
Tensor to_sample(const Image& image, int64_t height, int64_t width);

}  // namespace vivace
