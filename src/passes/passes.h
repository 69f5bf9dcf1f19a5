// The passes: each takes a Graph and changes it in place; running one twice changes nothing more. Their order is in compiler/pipeline.cc.
#pragma once

#include "ir/graph.h"

namespace vivace {

// Casts the small constant operands that kernels read as float32 (biases, norm weights). Required, first.
void float32_operands(Graph& graph);
// Two nodes that compute the same become one.
void eliminate_common_subexpressions(Graph& graph);
// Phases: what depends on weights alone is prepared. Required, after the last pass that makes nodes out of weights.
void assign_phases(Graph& graph);
// What depends on no input of the step moves into setup. After assign_phases, which it refines.
void hoist_step_invariant(Graph& graph);

}  // namespace vivace
