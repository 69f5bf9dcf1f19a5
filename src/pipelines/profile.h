// A profile (vivace/profile.h) that has been read.
#pragma once

#include "base/json.h"
#include "vivace/pipeline.h"

namespace vivace {

// As load_profile().
PretrainedOptions profile_in(const Config& file);

}  // namespace vivace
