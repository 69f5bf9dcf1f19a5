// Which sizes of a plan may change: the names that models give their inputs' dimensions, and what the options make of them.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "runtime/plan.h"
#include "vivace/compile.h"

namespace vivace {

// The attribute "dims" of an input, a word a dimension: "batch,4*height,4*width,_". "4*height": a multiple of 4; "=batch": a size that the
// graph is made for; "_": a constant. Empty text, empty list. Throws InternalError for anything else.
std::vector<PlanDim> parse_dims(const std::string& text);
// The names of the sizes that the graph is made for.
std::set<std::string> fixed_sizes(const Graph& graph);

// Dynamic: every name is a symbol but those of `fixed`; with use_duck_shape names whose sizes are equal at compile time share one. Static: none is.
// The number of scheduled timesteps is a symbol in both, of its own: another number of steps is no reason to compile.
std::vector<PlanSymbol> symbols_of(const Plan& plan, const CompileOptions& options, const std::set<std::string>& fixed);
inline constexpr const char* kTimesteps = "timesteps";

}  // namespace vivace
