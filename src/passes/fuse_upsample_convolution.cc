#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {

void fuse_upsample_convolution(Graph& graph) {
  const auto counts = graph.use_counts();
  const std::vector<int64_t> same{1, 1, 1, 1};
  for (Node& node : graph.nodes) {
    if (node.op != Op::conv2d || !is_only_for_its_reader(graph, counts, node.inputs[0], Op::upsample_nearest)) continue;
    const Node& upsample = graph[node.inputs[0]];
    const Shape& w = graph[node.inputs[1]].shape;
    const bool plain =
        upsample.inputs.size() == 1 && w[2] == 3 && w[3] == 3 && node.attrs.integer("stride", 1) == 1 && node.attrs.integers("padding") == same;
    if (!plain || node.attrs.has("act") || input_or_none(node, 3) != kNone || input_or_none(node, 4) != kNone) continue;
    node.inputs[0] = upsample.inputs[0];
    node.op = Op::upsample_conv2d;
    Attrs kept;
    for (const char* budget : {"winograd_error", "int16_error"})
      if (node.attrs.has(budget)) kept.set(budget, node.attrs.real(budget));
    node.attrs = kept;
  }
  graph.normalize();
}

}  // namespace vivace
