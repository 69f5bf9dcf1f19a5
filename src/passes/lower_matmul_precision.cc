#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {

void lower_matmul_precision(Graph& graph, MatmulPrecision precision) {
  if (precision == MatmulPrecision::highest) return;
  for (Node& node : graph.nodes) {
    const bool linear = node.op == Op::linear || node.op == Op::geglu_linear;
    const bool convolution = node.op == Op::conv2d || node.op == Op::conv3d || node.op == Op::upsample_conv2d;
    if ((!linear && !convolution) || node.phase == Phase::prepare || graph[node.inputs[0]].dtype != DType::float32 || node.attrs.has("compute") ||
        node.attrs.has("weight_storage"))
      continue;
    if (linear || precision == MatmulPrecision::medium)  // no convolution kernel splits its factors
      node.attrs.set("matmul_precision", matmul_precision_name(precision));
  }
}

}  // namespace vivace
