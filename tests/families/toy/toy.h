// ToyVideoPipeline: the smallest family that is like none of the others. Frames of noise [N, C, F, H, W], a denoiser of one linear layer, a prompt
// that counts by its length alone, and a memory that lives from one step to the next.
#pragma once

#include "families/family.h"

namespace vivace {

Family toy_family();

}  // namespace vivace
