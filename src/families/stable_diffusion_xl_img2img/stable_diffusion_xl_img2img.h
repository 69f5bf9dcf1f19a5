// StableDiffusionXLImg2ImgPipeline: SDXL from a picture, and its refiner.
#pragma once

#include "families/family.h"

namespace vivace {

Family stable_diffusion_xl_img2img_family();

}  // namespace vivace
