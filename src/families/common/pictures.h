// From what a VAE gives to pictures.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "components/models.h"
#include "families/family.h"
#include "vivace/image.h"

namespace vivace {

// [1, 3, H, W] in about -1..1 -> a picture. Throws UserError that names the VAE's folder for a NaN or an infinity.
Image to_image(const Tensor& sample, const std::string& vae_folder);

// [1, 3, F, H, W] -> a video, likewise.
Video to_video(const Tensor& sample, const std::string& vae_folder);

// Pictures of so many images, one after the other, so that the memory is that of one. `latents_of` gives an image's as the VAE takes them, [1, C, h,
// w].
std::vector<Image> decode_each(int64_t images, const std::function<Tensor(int64_t)>& latents_of, const VAEComponent& vae,
                               const std::string& vae_folder, Request& request);

// The sessions of the VAE that a picture takes.
void add_needs(std::vector<SessionNeed>& needs, std::vector<GraphRequest> requests, Stage stage);

// White.
Image blank_picture(int64_t height, int64_t width);

// A picture as VaeImageProcessor prepares it: of that size, float32 [1, 3, height, width] in -1..1.
Tensor to_sample(const Image& image, int64_t height, int64_t width);
// A video likewise: [1, 3, F, height, width].
Tensor to_sample(const Video& video, int64_t height, int64_t width);
// A picture in 0..1.
Tensor to_values(const Image& image, int64_t height, int64_t width);

}  // namespace vivace
