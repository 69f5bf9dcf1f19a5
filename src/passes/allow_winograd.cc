#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {
namespace {

bool is_convolution(const Node& node) { return node.op == Op::conv2d || node.op == Op::conv3d || node.op == Op::upsample_conv2d; }

}  // namespace

void allow_winograd(Graph& graph, const CompileOptions& options) {
  for (Node& node : graph.nodes)
    if (is_convolution(node) && node.attrs.integer("stride", 1) == 1 && !node.attrs.has("winograd_error"))
      node.attrs.set("winograd_error", options.error_budget.each_layer.value_or(usual_error(node)));
}

}  // namespace vivace
