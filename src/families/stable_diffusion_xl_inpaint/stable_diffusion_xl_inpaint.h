// StableDiffusionXLInpaintPipeline: SDXL that repaints what a mask shows.
#pragma once

#include "families/family.h"

namespace vivace {

Family stable_diffusion_xl_inpaint_family();

}  // namespace vivace
