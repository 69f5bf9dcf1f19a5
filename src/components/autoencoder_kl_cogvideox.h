// The component behind AutoencoderKLCogVideoX.
#pragma once

#include "components/models.h"
#include "models/autoencoder_kl_cogvideox/model.h"

namespace vivace {

// Frames [begin, end) that are encoded or decoded together.
using FrameBatch = std::pair<int64_t, int64_t>;
// As Diffusers makes them: as many batches of `size` as there are, at least one, and the first takes the rest.
std::vector<FrameBatch> frame_batches(int64_t frames, int64_t size);

class AutoencoderKLCogVideoXComponent : public AutoencoderComponent {
 public:
  AutoencoderKLCogVideoXComponent(const std::filesystem::path& path, const ComponentOptions& options);

  LatentFormat latents() const override;
  // latents [N, C, F, h, w], divided by the scaling factor already -> float32 [N, 3, frames, H, W], about -1..1.
  Tensor decode(const Tensor& latents, Request& request) const override { return decode(latents, request, nullptr); }
  // `on_frames`, where there is one and the video is decoded in one piece: told frames [N, 3, some, H, W] as soon as they are there, in their order.
  using OnFrames = std::function<void(int64_t first, const Tensor& frames)>;
  Tensor decode(const Tensor& latents, Request& request, const OnFrames& on_frames) const;
  // sample [N, 3, F, H, W] in -1..1 -> [N, C, f, h, w].
  Autoencoder::Posterior encode(const Tensor& sample, Request& request) const override;

  // Of the first batch of frames and of those behind it.
  std::vector<GraphRequest> decode_requests(int64_t frames, int64_t height, int64_t width) const override {
    return requests(true, frames, height, width);
  }
  std::vector<GraphRequest> encode_requests(int64_t frames, int64_t height, int64_t width) const override {
    return requests(false, frames, height, width);
  }

  // That a video of so many latent frames is decoded to.
  int64_t decoded_frames(int64_t latent_frames) const { return config_.decoded_frames(latent_frames); }
  std::vector<GraphRequest> in_tiles(const GraphRequest& whole) const override;
  // AutoencoderKLCogVideoX::enable_tiling.
  void set_tiles(std::optional<int64_t> height, std::optional<int64_t> width, std::optional<double> overlap_height,
                 std::optional<double> overlap_width);

 private:
  // A tile's size in pixels, and what of it two tiles share.
  struct Tiles {
    int64_t height, width;
    double overlap_height, overlap_width;
  };
  TileGrid grid(const Tiles& tiles, bool decode) const;
  TileGrid tiles(bool decode) const override { return grid(tiles_, decode); }
  GraphRequest request(bool decode, const VideoBatch& batch, DType dtype) const;
  // Throws UsageError for a tile of a picture to encode that is too small for the samplers.
  void check_tile(int64_t height, int64_t width, int64_t whole_height, int64_t whole_width) const;
  // Whether a picture to encode has no such tile, and its tiles are as many latents as it is.
  bool can_be_tiled(int64_t height, int64_t width) const;
  // `whole` of each size of tile, where it takes several.
  std::vector<GraphRequest> of_tiles(bool decode, const VideoBatch& whole, bool tiles_asked) const;
  std::vector<GraphRequest> requests(bool decode, int64_t frames, int64_t height, int64_t width) const;
  // All batches of frames of a video [N, C, F, h, w] or of a tile of one.
  Tensor in_batches(const Tensor& x, bool decode, DType dtype, Request& request, const OnFrames& on_frames) const;

  AutoencoderKLCogVideoXConfig config_;
  Tiles tiles_;
};

}  // namespace vivace
