// Nodes that no kernel takes: named ops become the plain ops they stand for, narrow convolutions become wide ones.
#pragma once

#include <functional>

#include "ir/graph.h"

namespace vivace {

// `supported` says whether some kernel takes a node. Phases and scopes are kept.
void decompose_unsupported(Graph& graph, const std::function<bool(const Graph&, const Node&)>& supported);
// Convolutions of bfloat16 or float16 that compiled kernels take in float32 alone are computed in it: kernels of 2x2, 5x5 and so on where a processor
// has no products of such values. `compiled` says whether a kernel other than the reference takes a node.
void widen_unsupported(Graph& graph, const std::function<bool(const Graph&, const Node&)>& compiled);

}  // namespace vivace
