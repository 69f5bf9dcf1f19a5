// Components of the transformer families: T5 encoders and the denoisers of FLUX and AuraFlow.
#pragma once

#include "components/component.h"
#include "models/aura_flow_transformer_2d/model.h"
#include "models/flux_transformer_2d/model.h"
#include "models/t5_encoder/model.h"
#include "vivace/models.h"

namespace vivace {

// The requests of these models from their configs alone, for tools that look at plans without weights. `timesteps` of the schedule are known when the
// session is set up, where the plan wants to know them.
GraphRequest t5_encoder_request(const T5EncoderConfig& config, int64_t batch, int64_t tokens, bool mask, DType dtype);
GraphRequest flux_transformer_2d_request(const FluxTransformer2DConfig& config, const FluxTransformer2DShape& shape, int64_t timesteps, DType dtype);
GraphRequest aura_flow_transformer_2d_request(const AuraFlowTransformer2DConfig& config, const AuraFlowTransformer2DShape& shape, int64_t timesteps, DType dtype);

class T5EncoderComponent : public Component {
 public:
  T5EncoderComponent(const std::filesystem::path& path, const ComponentOptions& options);
  const T5EncoderConfig& config() const { return config_; }
  // T5EncoderModel::operator() for a request.
  Tensor encode(const Tensor& input_ids, const Tensor& attention_mask, Request& request);
  GraphRequest request(int64_t batch, int64_t tokens, bool mask) const { return t5_encoder_request(config_, batch, tokens, mask, dtype()); }

 private:
  T5EncoderConfig config_;
};

class FluxTransformer2DComponent : public Component {
 public:
  FluxTransformer2DComponent(const std::filesystem::path& path, const ComponentOptions& options);
  const FluxTransformer2DConfig& config() const { return config_; }
  GraphRequest request(const FluxTransformer2DShape& shape, int64_t timesteps = 1) const { return flux_transformer_2d_request(config_, shape, timesteps, dtype()); }
  std::vector<std::string> repeated_blocks() const override { return {"FluxTransformerBlock", "FluxSingleTransformerBlock"}; }

 private:
  FluxTransformer2DConfig config_;
};

class AuraFlowTransformer2DComponent : public Component {
 public:
  AuraFlowTransformer2DComponent(const std::filesystem::path& path, const ComponentOptions& options);
  const AuraFlowTransformer2DConfig& config() const { return config_; }
  GraphRequest request(const AuraFlowTransformer2DShape& shape, int64_t timesteps = 1) const { return aura_flow_transformer_2d_request(config_, shape, timesteps, dtype()); }

 private:
  AuraFlowTransformer2DConfig config_;
};

}  // namespace vivace
