#include "ops/positions.h"
#include "passes/passes.h"

namespace vivace {
namespace {

// Each part is some columns of the result, or some of its rows, one after another.
bool lies_in_one_place(const Node& node) {
  const auto rank = static_cast<int64_t>(node.shape.size());
  const int64_t axis = node.attrs.integer("axis");
  return axis == -1 || axis == rank - 1 || (axis >= 0 && is_outermost(node.shape, axis));
}

}  // namespace

void join_concats(Graph& graph) {
  for (Node& node : graph.nodes)
    if (node.op == Op::concat && node.inputs.size() > 1 && node.phase != Phase::prepare && lies_in_one_place(node))
      node.attrs.set("join", int64_t{1});
}

}  // namespace vivace
