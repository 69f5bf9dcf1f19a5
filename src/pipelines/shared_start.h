// Two processes that make a picture together: each takes the same steps by itself, so both must begin with the same.
#pragma once

#include "pipelines/loaded.h"

namespace vivace {

// Gives all ranks the first one's start: pictures that two devices encode differ in their last bits, and more where one encodes in tiles. Throws
// UserError that names what else differs: program, weights (Component::sampled_weights), arguments, pictures or tensors that the call was given.
void share_start(const DiffusionPipeline::Loaded& loaded, const Call& call, const Scheduler& scheduler, const Noise& noise,
                 Conditioning& conditioning, Start& start, Request& request);

}  // namespace vivace
