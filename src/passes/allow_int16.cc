#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {

void allow_int16(Graph& graph, const CompileOptions& options, const Target& target) {
  // Of bfloat16 results the rounding alone has 1.6e-3; those of other dtypes are finer than int16.
  const auto usual = [&](const Node& node) { return node.dtype == DType::bfloat16 && target.int16_products ? 1e-3 : 0; };
  for (Node& node : graph.nodes) {
    const bool convolution = node.attrs.real("winograd_error") > 0;  // by Winograd alone
    if (node.op != Op::linear && node.op != Op::geglu_linear && node.op != Op::attention && !convolution) continue;
    if (node.attrs.has("int16_error")) continue;
    if (const double bound = options.error_budget.each_layer.value_or(usual(node)); bound > 0) node.attrs.set("int16_error", bound);
  }
}

}  // namespace vivace
