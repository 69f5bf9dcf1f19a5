// The denoiser of CogVideoX.
#pragma once

#include "components/component.h"
#include "models/cogvideox_transformer_3d/model.h"
#include "models/cogvideox_transformer_3d/tokens.h"
#include "vivace/models.h"

namespace vivace {

class CogVideoXTransformer3DComponent : public Component {
 public:
  CogVideoXTransformer3DComponent(const std::filesystem::path& path, const ComponentOptions& options);
  const CogVideoXTransformer3DConfig& config() const { return config_; }
  // Of `batch` videos. Throws UsageError for a size that is not of whole patches, or for which the model has no positions.
  GraphRequest request(int64_t batch, const VideoGrid& grid, int64_t tokens, int64_t timesteps = 1) const;
  // What the graph is given of the places of patches and prompt tokens, by the names of its inputs.
  std::map<std::string, Tensor> positions(const VideoGrid& grid, int64_t tokens) const;

 private:
  GraphRequest request(const CogVideoXTransformer3DShape& shape, int64_t timesteps = 1) const;
  // Whether the model has learned positions for the size.
  bool is_own_size(const VideoGrid& grid) const;

  CogVideoXTransformer3DConfig config_;
};

}  // namespace vivace
