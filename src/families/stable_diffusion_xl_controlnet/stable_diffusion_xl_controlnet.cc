#include "families/stable_diffusion_xl_controlnet/stable_diffusion_xl_controlnet.h"

#include "families/common/control_nets.h"
#include "families/stable_diffusion_xl/stable_diffusion_xl.h"

namespace vivace {

Family stable_diffusion_xl_controlnet_family() {
  return {.class_name = "StableDiffusionXLControlNetPipeline",
          .parts = with_controlnets(stable_diffusion_xl_parts()),
          .open = [](const Parts& parts, const Config& index) -> std::unique_ptr<Recipe> {
            return std::make_unique<StableDiffusionXLRecipe>(
                parts, index,
                UNetClass{.guidance_scale = 5,
                          .taken = stable_diffusion_xl_arguments(
                              {"control_image", "controlnet_conditioning_scale", "control_guidance_start", "control_guidance_end"}),
                          .controlled = true});
          },
          .model = "stable-diffusion-xl",
          .controlled = true};
}

}  // namespace vivace
