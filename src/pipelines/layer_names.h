// Layers that options name.
#pragma once

#include "families/parts.h"
#include "vivace/compile.h"

namespace vivace {

// Throws UsageError for a layer that the options name and no part has: what they say of it would be of nothing.
void check_layer_names(const Parts& parts, const CompileOptions& options);

}  // namespace vivace
