#include "passes/passes.h"
#include "tensor/block_format.h"

namespace vivace {

void keep_blocks(Graph& graph, const Target& target) {
  if (!target.blocks) return;
  for (Node& node : graph.nodes) {
    if ((node.op != Op::linear && node.op != Op::geglu_linear) || node.attrs.has("compute") || node.attrs.has("weight_storage")) continue;
    const Node& values = graph[node.inputs[1]];
    if (values.op != Op::widen || graph[values.inputs[0]].dtype != DType::uint8) continue;
    const std::string format = values.attrs.text("format");
    if (block_format_info(*find_block_format(format)).values == 1) continue;
    node.inputs[1] = values.inputs[0];
    node.attrs.set("blocks", format);
  }
  graph.normalize();
}

}  // namespace vivace
