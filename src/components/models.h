// Components with their configurations: what stands behind the public models.
#pragma once

#include "models/autoencoder_kl/model.h"
#include "models/clip_text/model.h"
#include "models/unet2d_condition/model.h"
#include "components/component.h"
#include "vivace/models.h"

namespace vivace {

// The requests of these models from their configs alone, for tools that look at plans without weights.
GraphRequest unet_request(const UNetConfig& config, const UNetShape& shape, int64_t timesteps, DType dtype);
GraphRequest vae_decode_request(const AutoencoderKLConfig& config, int64_t batch, int64_t height, int64_t width, DType dtype);
GraphRequest vae_encode_request(const AutoencoderKLConfig& config, int64_t batch, int64_t height, int64_t width, DType dtype);
GraphRequest clip_text_request(const CLIPTextConfig& config, int64_t batch, int64_t tokens, int64_t skip, DType dtype);

class UNetComponent : public Component {
 public:
  UNetComponent(const std::filesystem::path& path, const ModelOptions& options);
  const UNetConfig& config() const { return config_; }
  // `timesteps` of the schedule are known when the session is set up, where the plan wants to know them.
  GraphRequest request(const UNetShape& shape, int64_t timesteps = 1) const;
  std::vector<std::string> repeated_blocks() const override { return {"BasicTransformerBlock"}; }  // UNet2DConditionModel._repeated_blocks

 private:
  UNetConfig config_;
};

class VAEComponent : public Component {
 public:
  VAEComponent(const std::filesystem::path& path, const ModelOptions& options);
  const AutoencoderKLConfig& config() const { return config_; }
  // AutoencoderKL::decode for a request.
  Tensor decode(const Tensor& latents, Request& request) const;
  // height and width of the latents. `dtype` may differ from the component's: float32 for a second try.
  GraphRequest decode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const;
  // height and width of the picture.
  GraphRequest encode_request(int64_t batch, int64_t height, int64_t width, DType dtype) const;
  // float32 where a float16 decoder would overflow (force_upcast).
  DType decode_dtype() const { return dtype() == DType::float16 && config_.force_upcast ? DType::float32 : dtype(); }

 private:
  AutoencoderKLConfig config_;
};

class CLIPTextComponent : public Component {
 public:
  CLIPTextComponent(const std::filesystem::path& path, const ModelOptions& options);
  const CLIPTextConfig& config() const { return config_; }
  // CLIPTextModel::operator() for a request.
  CLIPTextModelOutput encode(const Tensor& input_ids, int skip, Request& request) const;
  // Throws UsageError for a number of tokens or layers that the model does not have.
  GraphRequest request(int64_t batch, int64_t tokens, int64_t skip) const;

 private:
  CLIPTextConfig config_;
};

}  // namespace vivace
