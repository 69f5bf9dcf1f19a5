// Components of the transformer families: T5 encoders and the denoisers of FLUX and AuraFlow.
#pragma once

#include "components/component.h"
#include "models/aura_flow_transformer_2d/model.h"
#include "models/flux_transformer_2d/model.h"
#include "models/t5_encoder/model.h"
#include "vivace/models.h"

namespace vivace {

class T5EncoderComponent : public Component {
 public:
  T5EncoderComponent(const std::filesystem::path& path, const ComponentOptions& options);
  const T5EncoderConfig& config() const { return config_; }
  // T5EncoderModel::operator() for a request.
  Tensor encode(const Tensor& input_ids, const Tensor& attention_mask, Request& request) const;
  GraphRequest request(int64_t batch, int64_t tokens, bool mask) const;

 private:
  T5EncoderConfig config_;
};

class FluxTransformer2DComponent : public Component {
 public:
  FluxTransformer2DComponent(const std::filesystem::path& path, const ComponentOptions& options);
  const FluxTransformer2DConfig& config() const { return config_; }
  // `timesteps` of the schedule are known when the session is set up, where the plan wants to know them.
  GraphRequest request(const FluxTransformer2DShape& shape, int64_t timesteps = 1) const;
  std::vector<std::string> repeated_blocks() const override { return {"FluxTransformerBlock", "FluxSingleTransformerBlock"}; }

 private:
  FluxTransformer2DConfig config_;
};

class AuraFlowTransformer2DComponent : public Component {
 public:
  AuraFlowTransformer2DComponent(const std::filesystem::path& path, const ComponentOptions& options);
  const AuraFlowTransformer2DConfig& config() const { return config_; }
  GraphRequest request(const AuraFlowTransformer2DShape& shape, int64_t timesteps = 1) const;

 private:
  AuraFlowTransformer2DConfig config_;
};

}  // namespace vivace
