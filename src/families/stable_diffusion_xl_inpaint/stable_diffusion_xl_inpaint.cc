#include "families/stable_diffusion_xl_inpaint/stable_diffusion_xl_inpaint.h"

#include "families/stable_diffusion_xl/stable_diffusion_xl.h"

namespace vivace {

Family stable_diffusion_xl_inpaint_family() {
  return {.class_name = "StableDiffusionXLInpaintPipeline",
          .parts = stable_diffusion_xl_parts(),
          .open = [](const Parts& parts, const Config& index) -> std::unique_ptr<Recipe> {
            return std::make_unique<StableDiffusionXLRecipe>(
                parts, index,
                UNetClass{
                    .task = Task::inpainting,
                    .guidance_scale = 7.5,
                    .strength = 0.9999,
                    .taken = stable_diffusion_xl_arguments({"image", "mask_image", "masked_image_latents", "padding_mask_crop", "strength",
                                                            "guidance_rescale", "denoising_start", "aesthetic_score", "negative_aesthetic_score"})});
          },
          .model = "stable-diffusion-xl",
          .task = Task::inpainting};
}

}  // namespace vivace
