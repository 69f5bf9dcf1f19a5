#include "passes/passes.h"

namespace vivace {

void note_error_budget(Graph& graph, const CompileOptions& options) {
  for (Node& node : graph.nodes) {
    const bool convolution = node.op == Op::conv2d || node.op == Op::conv3d || node.op == Op::upsample_conv2d;
    const bool linear = node.op == Op::linear || node.op == Op::geglu_linear;
    if (!convolution && !linear && node.op != Op::attention) continue;
    const auto named = options.error_budget.layers.find(node.scope);
    if (named == options.error_budget.layers.end()) continue;
    if (convolution || linear) node.attrs.set(convolution ? "winograd_error" : "strassen_error", named->second);
    node.attrs.set("int16_error", named->second);
  }
}

}  // namespace vivace
