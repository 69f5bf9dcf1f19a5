// StableDiffusionPipeline: SD 1.x and 2.x.
#pragma once

#include "families/common/unet_recipe.h"

namespace vivace {

class StableDiffusionRecipe : public UNetRecipe {
 public:
  explicit StableDiffusionRecipe(const Parts& parts);

  Size default_size() const override;
  Call resolve(const Prompts& prompt, const CallOptions& options) const override;
  Conditioning encode(const Call& call, Request& request) const override;

 protected:
  std::vector<SessionNeed> text_sessions(const Call& call) const override;
  int64_t tokens(const Call& call) const override;

 private:
  bool encodes_negative(const Call& call) const { return call.guidance && !call.options.negative_prompt_embeds.defined(); }
};

Family stable_diffusion_family();

}  // namespace vivace
