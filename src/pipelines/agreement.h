// What the parts of a checkpoint must agree on.
#pragma once

#include "pipelines/parts.h"

namespace vivace {

// Looked at when a pipeline is loaded, so that nothing is found out in the middle of a picture. Throws UserError that names both folders.
void check_agreement(DiffusionPipeline::Parts& parts);

}  // namespace vivace
