// LatentConsistencyModelPipeline: Stable Diffusion distilled to few steps. Guidance is a condition of the model.
#pragma once

#include "families/stable_diffusion/stable_diffusion.h"

namespace vivace {

class LatentConsistencyModelRecipe : public StableDiffusionRecipe {
 public:
  explicit LatentConsistencyModelRecipe(const Parts& parts);

  // The UNet's: what outdated configs mean is Stable Diffusion's own matter.
  Size default_size() const override { return UNetRecipe::default_size(); }  // NOLINT(bugprone-parent-virtual-call)
  Call resolve(const Prompts& prompt, const CallOptions& options) const override;

 protected:
  int default_steps() const override { return 4; }
};

Family latent_consistency_family();

}  // namespace vivace
