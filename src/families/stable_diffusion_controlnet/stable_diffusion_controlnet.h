// Stable Diffusion with ControlNets: StableDiffusionControlNetPipeline, StableDiffusionControlNetImg2ImgPipeline,
// StableDiffusionControlNetInpaintPipeline.
#pragma once

#include "families/family.h"

namespace vivace {

Family stable_diffusion_controlnet_family();
Family stable_diffusion_controlnet_img2img_family();
Family stable_diffusion_controlnet_inpaint_family();

}  // namespace vivace
