// StableDiffusionImg2ImgPipeline: Stable Diffusion from a picture.
#pragma once

#include "families/family.h"

namespace vivace {

Family stable_diffusion_img2img_family();

}  // namespace vivace
