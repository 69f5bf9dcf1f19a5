// What compiling regions and timing kernels cost, for people.
#pragma once

#include <string>

#include "runtime/plan.h"

namespace vivace {

// Lines, each with its end: every kind of region, then the searches of max-autotune, with what the same would have cost for every occurrence.
// "" for a plan without either.
std::string search_text(const Plan& plan);

}  // namespace vivace
