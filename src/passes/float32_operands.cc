#include <array>

#include "ops/infer.h"
#include "passes/passes.h"

namespace vivace {
namespace {

// Which inputs of which ops kernels read as float32 whatever the activations are.
struct Row {
  Op op;
  std::array<int, 6> inputs;  // -1 behind the last
};
constexpr Row kRows[] = {
    {Op::linear, {2, 5, -1, -1, -1, -1}},   {Op::geglu_linear, {2, -1, -1, -1, -1, -1}},    {Op::conv2d, {2, 3, -1, -1, -1, -1}},
    {Op::conv3d, {2, -1, -1, -1, -1, -1}},  {Op::upsample_conv2d, {2, -1, -1, -1, -1, -1}}, {Op::group_norm, {1, 2, -1, -1, -1, -1}},
    {Op::spatial_norm, {1, 2, 4, 5, 6, 7}}, {Op::layer_norm, {1, 2, -1, -1, -1, -1}},       {Op::rms_norm, {1, -1, -1, -1, -1, -1}},
};

}  // namespace

void float32_operands(Graph& graph) {
  bool changed = false;
  const NodeId count = graph.size();
  for (NodeId id = 0; id < count; ++id)
    for (const Row& row : kRows) {
      if (row.op != graph[id].op) continue;
      for (int i : row.inputs) {
        if (i < 0 || i >= static_cast<int>(graph[id].inputs.size())) continue;
        const NodeId in = graph[id].inputs[static_cast<size_t>(i)];
        if (in == kNone || graph[in].dtype == DType::float32) continue;
        Node cast = graph[in];
        cast.op = Op::cast;
        cast.inputs = {in};
        cast.attrs = {{"to", "float32"}};
        cast.dtype = DType::float32;
        const NodeId added = graph.add(std::move(cast));
        graph[id].inputs[static_cast<size_t>(i)] = added;
        changed = true;
      }
    }
  if (changed) graph.normalize();
}

}  // namespace vivace
