// What a picture looks like before it is finished: its latents as colours, or what a small decoder makes of them.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <stop_token>
#include <vector>

#include "vivace/image.h"
#include "vivace/models.h"
#include "vivace/pipeline.h"

namespace vivace::server {

// Without a decoder, or with one for other latents: a linear map from a latent pixel to a colour, least squares over what the model's own decoder
// makes of latents: of a few that are drawn at first, then of every picture that is finished. So it fits any decoder, and no table of a family's
// numbers is needed.
class Previews {
 public:
  explicit Previews(std::shared_ptr<const AutoencoderTiny> decoder = nullptr) : decoder_(std::move(decoder)) {}

  // Latents as a callback of a call sees them, of a picture of this size -> a picture: the decoder's, or a pixel a latent pixel, for which the
  // model's own decoder is asked the first time for one of 16 x 16 latent pixels. Throws Interrupted.
  Image preview(const DiffusionPipeline& pipe, const Tensor& latents, int64_t height, int64_t width, const std::stop_token& stop);
  // The latents at the end, and what they became.
  void learn(const Tensor& latents, const Image& picture);

 private:
  Image guessed(const Tensor& planes) const;
  Image decoded(const Tensor& planes, const std::stop_token& stop) const;
  void learn_at_first(const DiffusionPipeline& pipe, int64_t channels, bool packed, int64_t scale, const std::stop_token& stop);
  void solve();

  const std::shared_ptr<const AutoencoderTiny> decoder_;

  std::vector<double> squares_, products_;  // of the normal equations: [n, n] and [n, 3], n being the channels and a constant
  std::vector<float> map_;                  // [n, 3]
};

}  // namespace vivace::server
