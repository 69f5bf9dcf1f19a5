// StableDiffusionXLControlNetPipeline: SDXL with ControlNets.
#pragma once

#include "families/family.h"

namespace vivace {

Family stable_diffusion_xl_controlnet_family();

}  // namespace vivace
