// Components with their configurations: what stands behind the public models.
#pragma once

#include <optional>

#include "components/component.h"
#include "components/vae_tiling.h"
#include "models/autoencoder_kl/model.h"
#include "models/autoencoder_tiny/model.h"
#include "models/clip_text/model.h"
#include "models/unet2d_condition/model.h"
#include "vivace/models.h"

namespace vivace {

// What UNets and ControlNets are both given: latents [N, C, H, W], one timestep, encoder_hidden_states [N, T, D], and SDXL's embeddings where the
// model has them. Throws UsageError where those are missing.
void write_denoiser_inputs(Session& session, const Tensor& sample, float timestep, const Tensor& states, const AddedCondKwargs& added);

class UNetComponent : public Component {
 public:
  UNetComponent(const std::filesystem::path& path, const ComponentOptions& options);
  const UNetConfig& config() const { return config_; }
  // `timesteps` of the schedule are known when the session is set up, where the plan wants to know them.
  GraphRequest request(const UNetShape& shape, int64_t timesteps = 1) const;
  std::vector<std::string> repeated_blocks() const override { return {"BasicTransformerBlock"}; }

 private:
  UNetConfig config_;
};

// What a pipeline must know of a VAE's latents: what the denoiser sees is (latents - shift_factor) * scaling_factor, or by channel with mean and
// deviation.
struct LatentFormat {
  int64_t channels = 4, scale = 8;  // image pixels a latent pixel
  int64_t picture_channels = 3;
  double scaling_factor = 1, shift_factor = 0;
  std::vector<float> mean, std;       // empty, or one a channel
  int64_t temporal_scale = 1;         // frames of a video a latent frame
  bool invert_scale_latents = false;  // of an image to begin with: divided by the factor instead of multiplied
};

// A VAE of pictures or videos.
class AutoencoderComponent : public Component {
 public:
  using Component::Component;
  virtual LatentFormat latents() const = 0;
  // Autoencoder::decode for a request.
  virtual Tensor decode(const Tensor& latents, Request& request) const = 0;
  // Autoencoder::encode for a request.
  virtual Autoencoder::Posterior encode(const Tensor& sample, Request& request) const = 0;
  // The sessions that one picture takes, or one video of so many frames: with tiling one for each size of tile. Frames and size are those of latents;
  virtual std::vector<GraphRequest> decode_requests(int64_t frames, int64_t height, int64_t width) const = 0;
  // of the picture or the video.
  virtual std::vector<GraphRequest> encode_requests(int64_t frames, int64_t height, int64_t width) const = 0;
  // The sessions of a decode or encode request of the class if what it is for is made in tiles.
  virtual std::vector<GraphRequest> in_tiles(const GraphRequest& whole) const = 0;
  void set_tiling(bool on) { tiling_ = on; }
  void set_slicing(bool on) { slicing_ = on; }

 protected:
  // The class's tiles of what is decoded, or encoded.
  virtual TileGrid tiles(bool decode) const = 0;
  // The tiles of such a picture where they are asked for, by set_tiling() or here; nothing where it is one.
  std::optional<TileGrid> tiles_of(int64_t height, int64_t width, bool decode, bool asked = false) const;
  // `run` of [N, .., H, W], in tiles where it takes several, and row by row where slices are asked for.
  Tensor in_parts(const Tensor& x, bool decode, const std::function<Tensor(const Tensor&)>& run, bool tiles_asked = false) const;

 private:
  bool tiling_ = false, slicing_ = false;
};

// The posterior of moments [N, 2 C, ..].
Autoencoder::Posterior posterior_of(const Tensor& moments);

// A VAE of pictures, of any class.
class VAEComponent : public AutoencoderComponent {
 public:
  using AutoencoderComponent::AutoencoderComponent;
  // height and width of the latents. `dtype` may differ from the component's: float32 for a second try.
  virtual GraphRequest decode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const = 0;
  // height and width of the picture.
  virtual GraphRequest encode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const = 0;
  virtual DType decode_dtype() const { return dtype(); }
  // Whether encoding gives a posterior that samples are drawn from.
  virtual bool draws_samples() const = 0;
  std::vector<GraphRequest> decode_requests(int64_t frames, int64_t height, int64_t width) const override;
  std::vector<GraphRequest> encode_requests(int64_t frames, int64_t height, int64_t width) const override;
  std::vector<GraphRequest> in_tiles(const GraphRequest& whole) const override;
  Tensor decode(const Tensor& latents, Request& request) const override;
  Autoencoder::Posterior encode(const Tensor& sample, Request& request) const override;

 private:
  std::vector<GraphRequest> requests_of(int64_t height, int64_t width, bool decode, bool tiles_asked) const;
};

class AutoencoderKLComponent : public VAEComponent {
 public:
  AutoencoderKLComponent(const std::filesystem::path& path, const ComponentOptions& options);
  LatentFormat latents() const override;
  GraphRequest decode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const override;
  GraphRequest encode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const override;
  // float32 where a float16 decoder would overflow (force_upcast).
  DType decode_dtype() const override { return dtype() == DType::float16 && config_.force_upcast ? DType::float32 : dtype(); }
  bool draws_samples() const override { return true; }

 private:
  TileGrid tiles(bool decode) const override;

  AutoencoderKLConfig config_;
};

class AutoencoderTinyComponent : public VAEComponent {
 public:
  AutoencoderTinyComponent(const std::filesystem::path& path, const ComponentOptions& options);
  LatentFormat latents() const override;
  GraphRequest decode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const override;
  GraphRequest encode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const override;
  bool draws_samples() const override { return false; }

 private:
  TileGrid tiles(bool decode) const override;

  AutoencoderTinyConfig config_;
};

class CLIPTextComponent : public Component {
 public:
  CLIPTextComponent(const std::filesystem::path& path, const ComponentOptions& options);
  const CLIPTextConfig& config() const { return config_; }
  // Rows of the table of token embeddings, which adapters may have added to.
  void set_vocab_size(int64_t size) { config_.vocab_size = size; }
  // CLIPTextModel::operator() for a request.
  CLIPTextModelOutput encode(const Tensor& input_ids, int skip, Request& request) const;
  // Throws UsageError for a number of tokens or layers that the model does not have.
  GraphRequest request(int64_t batch, int64_t tokens, int64_t skip) const;

 private:
  CLIPTextConfig config_;
};

}  // namespace vivace
