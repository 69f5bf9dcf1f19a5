#include "families/stable_diffusion_inpaint/stable_diffusion_inpaint.h"

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "families/stable_diffusion/stable_diffusion.h"

namespace vivace {
namespace {

// Outdated configs are set right: the model was trained with an offset of 1, and a run begins without Runge-Kutta steps.
std::string corrections(const std::string& scheduler_config) {
  const nlohmann::json values = strict_json(scheduler_config);
  nlohmann::json forced = nlohmann::json::object();
  if (values.contains("steps_offset") && values["steps_offset"] != 1) forced["steps_offset"] = 1;
  if (values.contains("skip_prk_steps") && values["skip_prk_steps"] == false) forced["skip_prk_steps"] = true;
  return json_text(forced);
}

}  // namespace

Family stable_diffusion_inpaint_family() {
  return {.class_name = "StableDiffusionInpaintPipeline",
          .parts = stable_diffusion_parts(),
          .open = [](const Parts& parts, const Config&) -> std::unique_ptr<Recipe> {
            return std::make_unique<StableDiffusionRecipe>(
                parts,
                UNetClass{.task = Task::inpainting,
                          .guidance_scale = 7.5,
                          .strength = 1,
                          .taken = stable_diffusion_arguments({"image", "mask_image", "masked_image_latents", "padding_mask_crop", "strength"})});
          },
          .scheduler_corrections = corrections,
          .model = "stable-diffusion",
          .task = Task::inpainting};
}

}  // namespace vivace
