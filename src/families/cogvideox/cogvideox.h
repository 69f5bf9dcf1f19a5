// CogVideoXPipeline, and what the other pipelines around a CogVideoXTransformer3DModel share with it.
#pragma once

#include "components/autoencoder_kl_cogvideox.h"
#include "components/cogvideox_transformer.h"
#include "components/transformer_models.h"
#include "families/family.h"

namespace vivace {

class CogVideoXRecipe : public Recipe {
 public:
  // Checks what the parts must agree on; throws UserError. `conditions`: channels that the model reads beside those of the latents.
  CogVideoXRecipe(const Parts& parts, int64_t conditions);
  explicit CogVideoXRecipe(const Parts& parts) : CogVideoXRecipe(parts, 0) {}

  Size default_size() const override;
  Call resolve(const Prompts& prompt, const CallOptions& options) const override;
  std::vector<SessionNeed> sessions_for(const Call& call) const override;
  SchedulerTimesteps timesteps(const Call& call) const override;
  Conditioning encode(const Call& call, Request& request) const override;
  Tensor latents(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler, int first_step, Noise& noise) const override;
  std::unique_ptr<Predictor> predictor(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler,
                                       Request& request) const override;
  Pictures decode(const Call& call, const Tensor& latents, Request& request) const override;
  double fps() const override { return transformer_.config().patch_size_t ? 16 : 8; }

 protected:
  // What resolve takes beside a CogVideoXPipeline's arguments.
  virtual std::vector<std::string_view> also_taken() const { return {}; }
  virtual int64_t default_frames() const { return transformer_.config().sample_frames; }
  // What the dynamic guidance takes for the number of steps.
  virtual int guided_steps(const Call& call) const { return steps_of(call); }
  int steps_of(const Call& call) const;
  // Of the latents in the loop: as many frames as are decoded, and in front of them what fills a patch.
  VideoGrid grid_of(const Call& call) const;
  int64_t frames_in_front(const Call& call) const;
  // A line where a video gets another number of frames than was asked for.
  virtual void tell_frames(int64_t asked, int64_t made) const;
  // As the transformer rounds it.
  Tensor rounded(const Tensor& t) const { return t.to(transformer_.dtype()).to(DType::float32); }

  const Parts& parts_;
  CogVideoXTransformer3DComponent& transformer_;
  AutoencoderKLCogVideoXComponent& vae_;
  const LatentFormat format_;

 private:
  Tensor encode_texts(const Call& call, const Prompts& prompts, Request& request) const;
  int64_t sequence_length(const Call& call) const;
  GraphRequest transformer_request(const Call& call) const;
  // What numbers of frames are multiples of, and one more.
  int64_t frames_unit() const;
};

Family cogvideox_family();
// The part table of all of them.
std::vector<PartSpec> cogvideox_parts();

}  // namespace vivace
