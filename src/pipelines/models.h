// Components with their configurations: what stands behind the public models.
#pragma once

#include "models/autoencoder_kl/model.h"
#include "models/clip_text/model.h"
#include "models/unet2d_condition/model.h"
#include "pipelines/component.h"
#include "vivace/models.h"

namespace vivace {

class UNetComponent : public Component {
 public:
  UNetComponent(const std::filesystem::path& path, const ModelOptions& options);
  const UNetConfig& config() const { return config_; }
  BuildGraph builder(const UNetShape& shape) const;
  Session& session_for(const UNetShape& shape);

 private:
  UNetConfig config_;
};

class VAEComponent : public Component {
 public:
  VAEComponent(const std::filesystem::path& path, const ModelOptions& options);
  const AutoencoderKLConfig& config() const { return config_; }
  BuildGraph decoder(int64_t batch, int64_t height, int64_t width) const;
  // height and width of the latents. `dtype` may differ from the component's: float32 for a second try.
  Session& decoder_session(int64_t batch, int64_t height, int64_t width, DType dtype);
  Session& encoder_session(int64_t batch, int64_t height, int64_t width, DType dtype);
  // float32 where a float16 decoder would overflow (force_upcast).
  DType decode_dtype() const { return dtype() == DType::float16 && config_.force_upcast ? DType::float32 : dtype(); }

 private:
  AutoencoderKLConfig config_;
};

class CLIPTextComponent : public Component {
 public:
  CLIPTextComponent(const std::filesystem::path& path, const ModelOptions& options);
  const CLIPTextConfig& config() const { return config_; }
  BuildGraph builder(int64_t batch, int64_t tokens, int64_t skip) const;
  Session& session_for(int64_t batch, int64_t tokens, int64_t skip);

 private:
  CLIPTextConfig config_;
};

}  // namespace vivace
