// What the families around a UNet2DConditionModel share: latents, predictor, decoding.
#pragma once

#include "components/models.h"
#include "families/family.h"

namespace vivace {

class UNetRecipe : public Recipe {
 public:
  // Checks what UNet and VAE must agree on; throws UserError.
  explicit UNetRecipe(const Parts& parts);

  Size default_size() const override;
  SchedulerTimesteps timesteps(const Call& call) const override;
  std::vector<SessionNeed> sessions_for(const Call& call) const override;
  Tensor latents(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler, int first_step, Noise& noise) const override;
  std::unique_ptr<Predictor> predictor(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler,
                                       Request& request) const override;
  std::vector<Image> decode(const Call& call, const Tensor& latents, Request& request) const override;

 protected:
  // A session of the text encoders that the call takes, for sessions_for.
  virtual std::vector<SessionNeed> text_sessions(const Call& call) const = 0;
  // The tokens of a prompt.
  virtual int64_t tokens(const Call& call) const = 0;
  virtual int default_steps() const { return 50; }
  // latents divided by the scaling factor, or mean and deviation of each channel.
  virtual bool own_statistics() const { return false; }

  // Throws UserError unless the text encoders' widths together are what the UNet takes.
  void check_text_width(std::span<const std::string_view> encoders) const;
  // Whether the UNet takes a pooled prompt and sizes, as SDXL's does. Throws UserError where that is not what the class gives.
  void check_added_conditions(bool wanted) const;
  // Whether guidance is a condition of the model instead of a second prediction; its embedding, where it is.
  bool is_guidance_distilled() const { return unet_.config().time_cond_proj_dim > 0; }
  void add_guidance_embedding(const Call& call, Conditioning& conditioning) const;

  const Parts& parts_;
  UNetComponent& unet_;
  VAEComponent& vae_;

 private:
  GraphRequest unet_request(const Call& call) const;
};

}  // namespace vivace
