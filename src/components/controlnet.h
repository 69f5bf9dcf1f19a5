// ControlNetModel: its component.
#pragma once

#include "components/component.h"
#include "models/controlnet/model.h"

namespace vivace {

class ControlNetComponent : public Component {
 public:
  ControlNetComponent(const std::filesystem::path& path, const ComponentOptions& options);
  const ControlNetConfig& config() const { return config_; }
  // As UNetComponent::request.
  GraphRequest request(const UNetShape& shape, int64_t timesteps = 1) const;
  std::vector<std::string> repeated_blocks() const override { return {"BasicTransformerBlock"}; }

 private:
  ControlNetConfig config_;
};

}  // namespace vivace
