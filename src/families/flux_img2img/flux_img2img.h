// FluxImg2ImgPipeline: the schedule begins later, with a picture.
#pragma once

#include "families/flux/flux.h"

namespace vivace {

class FluxImg2ImgRecipe : public FluxRecipe {
 public:
  using FluxRecipe::FluxRecipe;
  Call resolve(const Prompts& prompt, const CallOptions& options) const override;
  std::vector<SessionNeed> sessions_for(const Call& call) const override;
  StepRange steps(const Call& call, const Scheduler& scheduler) const override;
  Conditioning encode(const Call& call, Request& request) const override;
  Tensor latents(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler, int first_step, Noise& noise) const override;

 protected:
  std::vector<std::string_view> also_taken() const override;
  double default_guidance() const override { return 7; }
};

Family flux_img2img_family();

}  // namespace vivace
