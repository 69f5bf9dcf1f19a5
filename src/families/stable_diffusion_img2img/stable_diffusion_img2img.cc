#include "families/stable_diffusion_img2img/stable_diffusion_img2img.h"

#include "families/stable_diffusion/stable_diffusion.h"

namespace vivace {

Family stable_diffusion_img2img_family() {
  return {.class_name = "StableDiffusionImg2ImgPipeline",
          .parts = stable_diffusion_parts(),
          .open = [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> {
            return std::make_unique<StableDiffusionRecipe>(parts, UNetClass{.task = Task::image_to_image,
                                                                            .guidance_scale = 7.5,
                                                                            .strength = 0.8,
                                                                            .taken = stable_diffusion_arguments({"image", "strength"})});
          },
          .scheduler_corrections = stable_diffusion_corrections,
          .model = "stable-diffusion",
          .task = Task::image_to_image};
}

}  // namespace vivace
