#include "families/stable_diffusion_controlnet/stable_diffusion_controlnet.h"

#include "families/common/control_nets.h"
#include "families/stable_diffusion/stable_diffusion.h"

namespace vivace {

Family stable_diffusion_controlnet_family() {
  return {.class_name = "StableDiffusionControlNetPipeline",
          .parts = with_controlnets(stable_diffusion_parts()),
          .open = [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> {
            return std::make_unique<StableDiffusionRecipe>(
                parts, UNetClass{.guidance_scale = 7.5,
                                 .taken = stable_diffusion_arguments(
                                     {"control_image", "controlnet_conditioning_scale", "control_guidance_start", "control_guidance_end"}),
                                 .controlled = true});
          },
          .scheduler_corrections = stable_diffusion_corrections,
          .model = "stable-diffusion",
          .controlled = true};
}

}  // namespace vivace
