#include "passes/passes.h"

namespace vivace {

void join_concats(Graph& graph) {
  for (Node& node : graph.nodes) {
    const auto rank = static_cast<int64_t>(node.shape.size());
    const int64_t axis = node.attrs.integer("axis");
    if (node.op == Op::concat && node.inputs.size() > 1 && node.phase != Phase::prepare && (axis == 0 || axis == -1 || axis == rank - 1))
      node.attrs.set("join", int64_t{1});
  }
}

}  // namespace vivace
