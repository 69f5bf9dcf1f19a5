#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {

void fuse_geglu(Graph& graph, const Target& target) {
  if (!target.gates) return;
  const auto counts = graph.use_counts();
  for (Node& node : graph.nodes) {
    if (node.op != Op::geglu || !is_only_for_its_reader(graph, counts, node.inputs[0], Op::linear)) continue;
    const Node linear = graph[node.inputs[0]];
    if (linear.attrs.has("act") || input_or_none(linear, 3) != kNone) continue;
    take_over(node, linear);
    node.op = Op::geglu_linear;
  }
  graph.normalize();
}

}  // namespace vivace
