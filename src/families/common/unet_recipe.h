// What the families around a UNet2DConditionModel share: latents, predictor, decoding.
#pragma once

#include "components/controlnet.h"
#include "components/models.h"
#include "families/family.h"

namespace vivace {

// What tells the classes around one UNet apart.
struct UNetClass {
  Task task = Task::text_to_image;
  double guidance_scale = 0;            // default
  double strength = 1;                  // default, of a picture
  std::vector<std::string_view> taken;  // arguments (check_taken)
  bool controlled = false;              // by ControlNets
  double control_scale = 1;             // controlnet_conditioning_scale's default
};

class UNetRecipe : public Recipe {
 public:
  // Checks what UNet and VAE must agree on; throws UserError.
  UNetRecipe(const Parts& parts, UNetClass unet_class);

  Size default_size() const override;
  CallOptions blank_call(Size size) const override;
  void set_size(CallOptions& call, Size size) const override;
  SchedulerTimesteps timesteps(const Call& call) const override;
  std::vector<SessionNeed> sessions_for(const Call& call) const override;
  StepRange steps(const Call& call, const Scheduler& scheduler) const override;
  Tensor latents(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler, int first_step, Noise& noise) const override;
  Start start(const Call& call, Conditioning& conditioning, const Scheduler& scheduler, const StepRange& steps, Noise& noise,
              Request& request) const override;
  std::unique_ptr<Predictor> predictor(const Call& call, const Conditioning& conditioning, const Scheduler& scheduler,
                                       Request& request) const override;
  Pictures decode(const Call& call, const Tensor& latents, Request& request) const override;

 protected:
  // A session of the text encoders that the call takes, for sessions_for.
  virtual std::vector<SessionNeed> text_sessions(const Call& call) const = 0;
  // The tokens of a prompt.
  virtual int64_t tokens(const Call& call) const = 0;
  virtual int default_steps() const { return 50; }
  // latents divided by the scaling factor, or mean and deviation of each channel.
  virtual bool own_statistics() const { return false; }

  // A call of so many prompts with its size, which a picture may decide, and its guidance. Throws UsageError where the pictures do not fit.
  Call resolve_call(const Prompts& prompt, const CallOptions& options, int64_t prompts) const;

  // Throws UserError unless the text encoders' widths together are what the UNet takes.
  void check_text_width(std::span<const std::string_view> encoders) const;
  // Whether the UNet takes a pooled prompt and sizes, as SDXL's does. Throws UserError where that is not what the class gives.
  void check_added_conditions(bool wanted) const;
  // Whether guidance is a condition of the model instead of a second prediction; its embedding, where it is.
  // Diffusers' classes with ControlNets that begin with a picture tell the model nothing, and make both predictions.
  bool is_guidance_distilled() const { return takes_guidance() && !(class_.controlled && class_.task != Task::text_to_image); }
  void add_guidance_embedding(const Call& call, Conditioning& conditioning) const;

  const Parts& parts_;
  UNetComponent& unet_;
  VAEComponent& vae_;
  const UNetClass class_;

 private:
  std::vector<ControlNetComponent*> controlnets_;

  bool takes_guidance() const { return unet_.config().time_cond_proj_dim > 0; }
  double strength(const Call& call) const { return call.options.strength.value_or(class_.strength); }
  // Of Diffusers' classes that inpaint, Stable Diffusion's with ControlNets alone does not.
  bool counts_steps() const { return class_.task == Task::inpainting && !(class_.controlled && unet_.config().addition_embed_type.empty()); }
  // Whether the UNet reads a mask, and what the mask leaves of the picture, beside the latents.
  size_t nets() const { return controlnets_.size(); }
  UNetShape shape_of(const Call& call) const;
  GraphRequest net_request(size_t net, const Call& call) const;
  std::vector<Tensor> control_pictures(const Call& call) const;
  bool reads_mask() const { return unet_.config().in_channels != vae_.latents().channels; }
  GraphRequest unet_request(const Call& call) const;
};

}  // namespace vivace
