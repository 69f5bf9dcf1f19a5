// StableDiffusionControlNetPipeline: Stable Diffusion with ControlNets.
#pragma once

#include "families/family.h"

namespace vivace {

Family stable_diffusion_controlnet_family();

}  // namespace vivace
