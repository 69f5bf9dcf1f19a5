#include "families/stable_diffusion_xl_img2img/stable_diffusion_xl_img2img.h"

#include "families/stable_diffusion_xl/stable_diffusion_xl.h"

namespace vivace {

Family stable_diffusion_xl_img2img_family() {
  return {.class_name = "StableDiffusionXLImg2ImgPipeline",
          .parts = stable_diffusion_xl_parts(),
          .open = [](const Parts& parts, const Config& index) -> std::unique_ptr<Recipe> {
            return std::make_unique<StableDiffusionXLRecipe>(
                parts, index,
                UNetClass{.task = Task::image_to_image,
                          .guidance_scale = 5,
                          .strength = 0.3,
                          .taken = stable_diffusion_xl_arguments(
                              {"image", "strength", "guidance_rescale", "denoising_start", "aesthetic_score", "negative_aesthetic_score"})});
          },
          .model = "stable-diffusion-xl",
          .task = Task::image_to_image};
}

}  // namespace vivace
