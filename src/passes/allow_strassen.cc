#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {

void allow_strassen(Graph& graph, const CompileOptions& options) {
  for (Node& node : graph.nodes)
    if ((node.op == Op::linear || node.op == Op::geglu_linear) && !node.attrs.has("strassen_error"))
      node.attrs.set("strassen_error", options.error_budget.each_layer.value_or(usual_error(node)));
}

}  // namespace vivace
