// The list of families.
#include "families/aura_flow/aura_flow.h"
#include "families/cogvideox/cogvideox.h"
#include "families/cogvideox_image_to_video/cogvideox_image_to_video.h"
#include "families/cogvideox_video_to_video/cogvideox_video_to_video.h"
#include "families/family.h"
#include "families/flux/flux.h"
#include "families/flux_img2img/flux_img2img.h"
#include "families/flux_kontext/flux_kontext.h"
#include "families/latent_consistency/latent_consistency.h"
#include "families/stable_diffusion/stable_diffusion.h"
#include "families/stable_diffusion_controlnet/stable_diffusion_controlnet.h"
#include "families/stable_diffusion_img2img/stable_diffusion_img2img.h"
#include "families/stable_diffusion_inpaint/stable_diffusion_inpaint.h"
#include "families/stable_diffusion_xl/stable_diffusion_xl.h"
#include "families/stable_diffusion_xl_controlnet/stable_diffusion_xl_controlnet.h"
#include "families/stable_diffusion_xl_img2img/stable_diffusion_xl_img2img.h"
#include "families/stable_diffusion_xl_inpaint/stable_diffusion_xl_inpaint.h"

namespace vivace {

StepRange Recipe::steps(const Call&, const Scheduler& scheduler) const { return {0, static_cast<int>(scheduler.timesteps().size())}; }

Start Recipe::start(const Call& call, Conditioning& conditioning, const Scheduler& scheduler, const StepRange& steps, Noise& noise, Request&) const {
  return {latents(call, conditioning, scheduler, steps.first, noise), {}};
}

std::span<const Family> families() {
  static const std::vector<Family> list{
      stable_diffusion_xl_family(),
      stable_diffusion_xl_img2img_family(),
      stable_diffusion_xl_inpaint_family(),
      stable_diffusion_xl_controlnet_family(),
      stable_diffusion_xl_controlnet_img2img_family(),
      stable_diffusion_xl_controlnet_inpaint_family(),
      stable_diffusion_family(),
      stable_diffusion_img2img_family(),
      stable_diffusion_inpaint_family(),
      stable_diffusion_controlnet_family(),
      stable_diffusion_controlnet_img2img_family(),
      stable_diffusion_controlnet_inpaint_family(),
      latent_consistency_family(),
      flux_family(),
      flux_kontext_family(),
      flux_img2img_family(),
      aura_flow_family(),
      cogvideox_family(),
      cogvideox_image_to_video_family(),
      cogvideox_video_to_video_family(),
  };
  return list;
}

}  // namespace vivace
