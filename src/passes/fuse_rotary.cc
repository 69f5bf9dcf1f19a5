#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {
namespace {

constexpr size_t kTable = 2;

}  // namespace

void fuse_rotary(Graph& graph, const Target& target) {
  if (!target.epilogues) return;
  const auto counts = graph.use_counts();
  for (Node& node : graph.nodes) {
    if (node.op != Op::rotary || !is_only_for_its_reader(graph, counts, node.inputs[0], Op::rms_norm)) continue;
    const Node norm = graph[node.inputs[0]];
    if (input_or_none(norm, kTable) != kNone || norm.attrs.integer("heads", 1) != node.attrs.integer("heads", 1)) continue;
    const NodeId table = node.inputs[1];
    take_over(node, norm);
    set_input(node, kTable, table);
  }
  graph.normalize();
}

}  // namespace vivace
