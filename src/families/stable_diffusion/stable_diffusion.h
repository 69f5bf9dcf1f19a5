// StableDiffusionPipeline: SD 1.x and 2.x; and what the classes share that begin with a picture.
#pragma once

#include <initializer_list>

#include "families/common/unet_recipe.h"

namespace vivace {

class StableDiffusionRecipe : public UNetRecipe {
 public:
  StableDiffusionRecipe(const Parts& parts, UNetClass unet_class);

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

// For the other classes of the same parts.
std::vector<PartSpec> stable_diffusion_parts();
// What all of them take, and `more`.
std::vector<std::string_view> stable_diffusion_arguments(std::initializer_list<std::string_view> more);
// The model was trained with an offset of 1, and its latents are not clipped: outdated configs are set right.
std::string stable_diffusion_corrections(const std::string& scheduler_config);

}  // namespace vivace
