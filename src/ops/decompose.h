// What each named op means, in plain ops: specification, fallback and test oracle in one.
#pragma once

#include "ops/builder.h"

namespace vivace {

// Writes the meaning of `node` (whose inputs are `inputs`) and returns the value it stands for, in float32 inside and of the node's dtype.
// The op must be named (is_named).
Value decompose(Builder& b, const Node& node, const std::vector<Value>& inputs);

// The graph with every named op replaced.
Graph decompose_all(const Graph& graph);

}  // namespace vivace
