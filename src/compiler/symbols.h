// Which sizes of a plan may change: the names that models give their inputs' dimensions, and what the options make of them.
#pragma once

#include <string>
#include <vector>

#include "runtime/plan.h"
#include "vivace/compile.h"

namespace vivace {

// The attribute "dims" of an input, a word a dimension: "batch,4*height,4*width,_". "4*height": a multiple of 4; "_": a constant.
// Empty text, empty list. Throws InternalError for anything else.
std::vector<PlanDim> parse_dims(const std::string& text);

// Dynamic: every name is a symbol; with use_duck_shape names whose sizes are equal at compile time share one. Static: none is.
// The number of scheduled timesteps is a symbol in both, of its own: another number of steps is no reason to compile.
std::vector<PlanSymbol> symbols_of(const Plan& plan, const CompileOptions& options);
inline constexpr const char* kTimesteps = "timesteps";

}  // namespace vivace
