// FluxPipeline, and what the other pipelines around a FluxTransformer2DModel share with it.
#pragma once

#include "components/models.h"
#include "components/transformer_models.h"
#include "families/family.h"

namespace vivace {

class FluxRecipe : public Recipe {
 public:
  // Checks what the parts must agree on; throws UserError.
  explicit FluxRecipe(const Parts& parts);

  Size default_size() const override;
  Call resolve(const Prompts& prompt, const CallOptions& options) const override;
  std::vector<SessionNeed> sessions_for(const Call& call) const override;
  SchedulerTimesteps timesteps(const Call& call) const override;
  std::optional<int> num_inference_steps(const Call& call) const override;
  Conditioning encode(const Call& call, Request& request) const override;
  Tensor latents(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler, int first_step, Noise& noise) const override;
  std::unique_ptr<Predictor> predictor(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler,
                                       Request& request) const override;
  Pictures decode(const Call& call, const Tensor& latents, Request& request) const override;

 protected:
  // What resolve takes beside a FluxPipeline's arguments.
  virtual std::vector<std::string_view> also_taken() const { return {}; }
  // The size of the picture that a call is for, before it is rounded to whole tokens.
  virtual Size wanted_size(const CallOptions& options) const;
  // Tokens of pictures that the model reads beside the latents.
  virtual int64_t condition_tokens(const Call&) const { return 0; }
  // Schedule of num_inference_steps (or its default) steps, or of the sigmas given.
  int steps_of(const Call& call) const;
  virtual double default_guidance() const { return 3.5; }
  // Whether a scheduler with use_flow_sigmas makes its sigmas itself; FluxPipeline's alone does, in Diffusers.
  virtual bool leaves_flow_sigmas() const { return true; }
  // Noise for all images, not packed, in the model's dtype.
  Tensor draw(const Call& call, Noise& noise) const;
  // The mean and the log variance of the latents of pictures in this size; a row a picture.
  Autoencoder::Posterior encode_pictures(const std::vector<Image>& images, int64_t height, int64_t width, Request& request) const;
  // Latents as the VAE gives them -> as the model sees them.
  Tensor scaled(Tensor latents) const;

  // Pixels of a token's side: what sizes are multiples of.
  int64_t token_pixels() const { return 2 * format_.scale; }
  Size tokens_of(const Call& call) const { return {call.height / token_pixels(), call.width / token_pixels()}; }

  const Parts& parts_;
  FluxTransformer2DComponent& transformer_;
  VAEComponent& vae_;
  const LatentFormat format_;

 private:
  struct Encoded {
    Tensor embeds, pooled;
  };
  Encoded encode_texts(const Call& call, const Prompts& first, const Prompts& second, Request& request) const;
  int64_t sequence_length(const Call& call) const;
  int64_t clip_tokens() const;
  GraphRequest transformer_request(const Call& call) const;
};

Family flux_family();
// The part table of all of them.
std::vector<PartSpec> flux_parts();

}  // namespace vivace
