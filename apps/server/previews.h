// What a picture looks like before it is finished: its latents as colours, without a decoder.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "vivace/image.h"
#include "vivace/pipeline.h"

namespace vivace::server {

// A linear map from a latent pixel to a colour, least squares over what the model's own decoder makes of latents: of a few that are drawn at first,
// then of every picture that is finished. So it fits any decoder, and no table of a family's numbers is needed.
class Previews {
 public:
  // Latents as a callback of a call sees them, of a picture of this size -> a picture, a pixel a latent pixel. The first time it decodes one of 16 x
  // 16 latent pixels.
  Image preview(const DiffusionPipeline& pipe, const Tensor& latents, int64_t height, int64_t width);
  // The latents at the end, and what they became.
  void learn(const Tensor& latents, const Image& picture);

 private:
  void solve();

  std::vector<double> squares_, products_;  // of the normal equations: [n, n] and [n, 3], n being the channels and a constant
  std::vector<float> map_;                  // [n, 3]
};

}  // namespace vivace::server
