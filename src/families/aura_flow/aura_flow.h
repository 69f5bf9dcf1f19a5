// AuraFlowPipeline.
#pragma once

#include "components/models.h"
#include "components/transformer_models.h"
#include "families/family.h"

namespace vivace {

class AuraFlowRecipe : public Recipe {
 public:
  // Checks what the parts must agree on; throws UserError.
  explicit AuraFlowRecipe(const Parts& parts);

  Size default_size() const override { return {1024, 1024}; }
  Call resolve(const Prompts& prompt, const CallOptions& options) const override;
  std::vector<SessionNeed> sessions_for(const Call& call) const override;
  SchedulerTimesteps timesteps(const Call& call) const override;
  Conditioning encode(const Call& call, Request& request) const override;
  Tensor latents(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler, int first_step, Noise& noise) const override;
  std::unique_ptr<Predictor> predictor(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler,
                                       Request& request) const override;
  Pictures decode(const Call& call, const Tensor& latents, Request& request) const override;

 private:
  // Zero where a prompt has no token.
  Tensor encode_texts(const Call& call, const Prompts& prompts, Request& request) const;
  int64_t sequence_length(const Call& call) const;
  GraphRequest transformer_request(const Call& call) const;

  const Parts& parts_;
  AuraFlowTransformer2DComponent& transformer_;
  VAEComponent& vae_;
  const LatentFormat format_;
};

Family aura_flow_family();

}  // namespace vivace
