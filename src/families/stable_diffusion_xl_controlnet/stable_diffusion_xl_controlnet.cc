#include "families/stable_diffusion_xl_controlnet/stable_diffusion_xl_controlnet.h"

#include <algorithm>

#include "families/common/control_nets.h"
#include "families/stable_diffusion_xl/stable_diffusion_xl.h"

namespace vivace {
namespace {

// Those of SDXL and of ControlNets, without what the classes that begin with a picture have not, and with what they have.
std::vector<std::string_view> xl_control_arguments(std::initializer_list<std::string_view> without, std::initializer_list<std::string_view> more) {
  std::vector<std::string_view> names = stable_diffusion_xl_arguments(more);
  names.insert(names.end(), kControlArguments.begin(), kControlArguments.end());
  std::erase_if(names, [&](std::string_view name) { return std::ranges::count(without, name) > 0; });
  return names;
}

Family xl_control_family(std::string_view class_name, Task task, std::unique_ptr<Recipe> (*open)(const Parts& parts, const Config& index)) {
  return {.class_name = class_name,
          .parts = with_controlnets(stable_diffusion_xl_parts()),
          .open = open,
          .model = "stable-diffusion-xl",
          .task = task,
          .controlled = true};
}

}  // namespace

Family stable_diffusion_xl_controlnet_family() {
  return xl_control_family("StableDiffusionXLControlNetPipeline", Task::text_to_image,
                           [](const Parts& parts, const Config& index) -> std::unique_ptr<Recipe> {
                             return std::make_unique<StableDiffusionXLRecipe>(
                                 parts, index, UNetClass{.guidance_scale = 5, .taken = xl_control_arguments({}, {}), .controlled = true});
                           });
}

Family stable_diffusion_xl_controlnet_img2img_family() {
  return xl_control_family("StableDiffusionXLControlNetImg2ImgPipeline", Task::image_to_image,
                           [](const Parts& parts, const Config& index) -> std::unique_ptr<Recipe> {
                             return std::make_unique<StableDiffusionXLRecipe>(
                                 parts, index,
                                 UNetClass{.task = Task::image_to_image,
                                           .guidance_scale = 5,
                                           .strength = 0.8,
                                           .taken = xl_control_arguments({"timesteps", "sigmas", "denoising_end"},
                                                                         {"image", "strength", "aesthetic_score", "negative_aesthetic_score"}),
                                           .controlled = true,
                                           .control_scale = 0.8});
                           });
}

Family stable_diffusion_xl_controlnet_inpaint_family() {
  return xl_control_family(
      "StableDiffusionXLControlNetInpaintPipeline", Task::inpainting, [](const Parts& parts, const Config& index) -> std::unique_ptr<Recipe> {
        return std::make_unique<StableDiffusionXLRecipe>(
            parts, index,
            UNetClass{.task = Task::inpainting,
                      .guidance_scale = 5,
                      .strength = 0.9999,
                      .taken = xl_control_arguments(
                          {"timesteps", "sigmas", "negative_original_size", "negative_target_size", "negative_crops_coords_top_left"},
                          {"image", "mask_image", "padding_mask_crop", "strength", "guidance_rescale", "denoising_start", "aesthetic_score",
                           "negative_aesthetic_score"}),
                      .controlled = true});
      });
}

}  // namespace vivace
