#include "families/stable_diffusion_controlnet/stable_diffusion_controlnet.h"

#include <algorithm>

#include "families/common/control_nets.h"
#include "families/stable_diffusion/stable_diffusion.h"

namespace vivace {
namespace {

// Those of the classes that begin with a picture have no schedules of the caller's.
std::vector<std::string_view> control_arguments(Task task, std::initializer_list<std::string_view> more) {
  std::vector<std::string_view> names = stable_diffusion_arguments(more);
  names.insert(names.end(), kControlArguments.begin(), kControlArguments.end());
  if (task != Task::text_to_image) std::erase_if(names, [](std::string_view name) { return name == "timesteps" || name == "sigmas"; });
  return names;
}

Family control_family(std::string_view class_name, Task task, std::unique_ptr<Recipe> (*open)(const Parts& parts, const Config& index)) {
  return {.class_name = class_name,
          .parts = with_controlnets(stable_diffusion_parts()),
          .open = open,
          .model = "stable-diffusion",
          .task = task,
          .controlled = true};
}

}  // namespace

Family stable_diffusion_controlnet_family() {
  return control_family("StableDiffusionControlNetPipeline", Task::text_to_image, [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> {
    return std::make_unique<StableDiffusionRecipe>(
        parts, UNetClass{.guidance_scale = 7.5, .taken = control_arguments(Task::text_to_image, {}), .controlled = true});
  });
}

Family stable_diffusion_controlnet_img2img_family() {
  return control_family(
      "StableDiffusionControlNetImg2ImgPipeline", Task::image_to_image, [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> {
        return std::make_unique<StableDiffusionRecipe>(parts, UNetClass{.task = Task::image_to_image,
                                                                        .guidance_scale = 7.5,
                                                                        .strength = 0.8,
                                                                        .taken = control_arguments(Task::image_to_image, {"image", "strength"}),
                                                                        .controlled = true,
                                                                        .control_scale = 0.8});
      });
}

Family stable_diffusion_controlnet_inpaint_family() {
  return control_family("StableDiffusionControlNetInpaintPipeline", Task::inpainting,
                        [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> {
                          return std::make_unique<StableDiffusionRecipe>(
                              parts, UNetClass{.task = Task::inpainting,
                                               .guidance_scale = 7.5,
                                               .strength = 1,
                                               .taken = control_arguments(Task::inpainting, {"image", "mask_image", "padding_mask_crop", "strength"}),
                                               .controlled = true,
                                               .control_scale = 0.5});
                        });
}

}  // namespace vivace
