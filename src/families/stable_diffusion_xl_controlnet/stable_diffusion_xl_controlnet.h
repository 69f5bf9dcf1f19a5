// SDXL with ControlNets: StableDiffusionXLControlNetPipeline, StableDiffusionXLControlNetImg2ImgPipeline, StableDiffusionXLControlNetInpaintPipeline.
#pragma once

#include "families/family.h"

namespace vivace {

Family stable_diffusion_xl_controlnet_family();
Family stable_diffusion_xl_controlnet_img2img_family();
Family stable_diffusion_xl_controlnet_inpaint_family();

}  // namespace vivace
