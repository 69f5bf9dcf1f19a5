#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {

void fuse_norm_activation(Graph& graph, const Target& target) {
  if (!target.epilogues) return;
  const auto counts = graph.use_counts();
  for (Node& node : graph.nodes) {
    const auto reads_alone = [&](Op op) { return is_only_for_its_reader(graph, counts, node.inputs[0], op); };
    if (node.op != Op::silu || (!reads_alone(Op::group_norm) && !reads_alone(Op::spatial_norm))) continue;
    const Node norm = graph[node.inputs[0]];
    if (norm.attrs.has("act")) continue;
    take_over(node, norm);
    node.attrs.set("act", "silu");
  }
  graph.normalize();
}

}  // namespace vivace
