#include "passes/passes.h"
#include "weights/weight_stack.h"

namespace vivace {

void resolve_weights(Graph& graph, const WeightStack& weights) {
  Builder b(DType::float32);
  std::vector<NodeId> now(graph.nodes.size(), kNone);
  for (NodeId id = 0; id < graph.size(); ++id) {
    Node& node = graph[id];
    for (NodeId& in : node.inputs)
      if (in != kNone) in = now[static_cast<size_t>(in)];
    now[static_cast<size_t>(id)] = (node.op == Op::weight ? weights.build(b, node) : b.copy(node)).id;
  }
  graph.nodes = b.take().nodes;
  for (auto& [name, id] : graph.outputs) id = now[static_cast<size_t>(id)];
}

}  // namespace vivace
