// FluxImg2ImgPipeline: the schedule begins later, with a picture.
#pragma once

#include "families/flux/flux.h"

namespace vivace {

class FluxImg2ImgRecipe : public FluxRecipe {
 public:
  using FluxRecipe::FluxRecipe;
  CallOptions blank_call(Size size) const override;
  Call resolve(const Prompts& prompt, const CallOptions& options) const override;
  std::vector<SessionNeed> sessions_for(const Call& call) const override;
  StepRange steps(const Call& call, const Scheduler& scheduler) const override;
  Start start(const Call& call, Conditioning& conditioning, const Scheduler& scheduler, const StepRange& steps, Noise& noise,
              Request& request) const override;

 protected:
  std::vector<std::string_view> also_taken() const override;
  bool leaves_flow_sigmas() const override { return false; }
  double default_guidance() const override { return 7; }
};

Family flux_img2img_family();

}  // namespace vivace
