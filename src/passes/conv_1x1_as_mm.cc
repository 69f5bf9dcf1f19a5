#include <utility>

#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {
namespace {

bool is_pointwise(const Graph& graph, const Node& node) {
  if (node.op != Op::conv2d || node.shape.size() != 4 || node.attrs.has("act") || input_or_none(node, 3) != kNone || input_or_none(node, 4) != kNone)
    return false;
  const Shape& w = graph[node.inputs[1]].shape;
  for (int64_t p : node.attrs.integers("padding"))
    if (p != 0) return false;
  return w[2] == 1 && w[3] == 1 && node.attrs.integer("stride", 1) == 1;
}

}  // namespace

void conv_1x1_as_mm(Graph& graph) {
  const NodeId count = graph.size();
  for (NodeId id = 0; id < count; ++id) {
    if (!is_pointwise(graph, graph[id])) continue;
    const Node conv = graph[id];
    const NodeId image = conv.inputs[0];

    Node flat = conv;
    flat.op = Op::flatten_hw;
    flat.inputs = {image};
    flat.attrs = {};
    const Shape x = graph[image].shape;
    flat.shape = {x[0], x[1] * x[2], x[3]};
    flat.phase = graph[image].phase;

    Node weight = graph[conv.inputs[1]];
    weight.op = Op::reshape;
    weight.inputs = {conv.inputs[1]};
    weight.attrs = {{"shape", std::vector<int64_t>{0, -1}}};
    weight.shape.resize(2);

    Node linear = conv;
    linear.op = Op::linear;
    linear.inputs[0] = graph.add(std::move(flat));
    linear.inputs[1] = graph.add(std::move(weight));
    linear.attrs = {};
    // Regions note the budgets of layers before their passes run.
    for (const auto& [of_conv, of_linear] : {std::pair{"winograd_error", "strassen_error"}, {"int16_error", "int16_error"}})
      if (const Attr* budget = conv.attrs.find(of_conv)) linear.attrs.set(of_linear, *budget);
    linear.shape = {x[0], x[1] * x[2], conv.shape[3]};

    const NodeId product = graph.add(std::move(linear));
    Node& out = graph[id];
    out.op = Op::unflatten_hw;
    out.inputs = {product, image};
    out.attrs = {};
  }
  graph.normalize();
}

}  // namespace vivace
