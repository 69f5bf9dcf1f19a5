#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {

void fuse_norm_convolution(Graph& graph) {
  const auto counts = graph.use_counts();
  for (Node& node : graph.nodes) {
    if (node.op != Op::conv2d || !is_only_for_its_reader(graph, counts, node.inputs[0], Op::group_norm)) continue;
    const Node& norm = graph[node.inputs[0]];
    const Shape& w = graph[node.inputs[1]].shape;
    if (w[2] != 3 || w[3] != 3 || node.attrs.integer("stride", 1) != 1) continue;
    std::vector<NodeId> inputs{norm.inputs[0], norm.inputs[1], norm.inputs[2]};
    inputs.insert(inputs.end(), node.inputs.begin() + 1, node.inputs.end());
    node.inputs = std::move(inputs);
    node.attrs.set("groups", norm.attrs.integer("groups"));
    node.attrs.set("eps", norm.attrs.real("eps"));
    if (norm.attrs.has("act")) node.attrs.set("norm_act", norm.attrs.text("act"));
    node.op = Op::norm_conv2d;
  }
  graph.normalize();
}

}  // namespace vivace
