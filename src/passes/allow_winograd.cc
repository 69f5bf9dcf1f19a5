#include <algorithm>

#include "passes/passes.h"

namespace vivace {

void allow_winograd(Graph& graph, const CompileOptions& options) {
  for (Node& node : graph.nodes) {
    if (std::ranges::count(options.direct_convolutions, node.scope)) continue;
    const bool convolution = node.op == Op::conv2d || node.op == Op::norm_conv2d || node.op == Op::upsample_conv2d;
    if (convolution && node.attrs.integer("stride", 1) == 1) node.attrs.set("winograd", "f2");
  }
}

}  // namespace vivace
