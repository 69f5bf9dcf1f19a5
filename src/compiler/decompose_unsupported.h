// Named ops that no kernel takes become the plain ops they stand for.
#pragma once

#include <functional>

#include "ir/graph.h"

namespace vivace {

// `supported` says whether some kernel takes a node. Phases and scopes are kept.
void decompose_unsupported(Graph& graph, const std::function<bool(const Graph&, const Node&)>& supported);

}  // namespace vivace
