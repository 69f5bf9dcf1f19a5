#include <optional>

#include "passes/match.h"
#include "passes/passes.h"
#include "tensor/block_format.h"

namespace vivace {
namespace {

// A matrix of low rank that an adapter adds to a weight: up [O, r] times down [r, I].
struct LowRank {
  NodeId up, down;
};

std::optional<LowRank> low_rank(const Graph& graph, NodeId id) {
  const Node& product = graph[id];
  if (product.op != Op::linear || product.inputs.size() != 2 || product.attrs != Attrs()) return std::nullopt;
  const Node& turned = graph[product.inputs[1]];
  if (turned.op != Op::transpose) return std::nullopt;
  return LowRank{product.inputs[0], turned.inputs[0]};
}

// What is in blocks of several values, as bytes: the format; "" for anything else.
std::string format_of(const Graph& graph, const Node& values) {
  if (values.op != Op::widen || graph[values.inputs[0]].dtype != DType::uint8) return "";
  const std::string& format = values.attrs.text("format");
  return block_format_info(*find_block_format(format)).values > 1 ? format : "";
}

// x (up down)^T, and `sum` where there is one.
NodeId add_beside(Graph& graph, const Node& linear, const LowRank& factors, NodeId sum) {
  Node narrow = linear;
  narrow.op = Op::linear;
  narrow.attrs = {};
  Node wide = narrow;
  narrow.inputs = {linear.inputs[0], factors.down};
  narrow.shape.back() = graph[factors.down].shape[0];
  wide.inputs = {graph.add(std::move(narrow)), factors.up};
  if (sum != kNone) set_input(wide, 3, sum);
  return graph.add(std::move(wide));
}

}  // namespace

void keep_blocks(Graph& graph, const Target& target) {
  if (!target.blocks) return;
  const NodeId count = graph.size();
  for (NodeId id = 0; id < count; ++id) {
    const Node& node = graph[id];
    if ((node.op != Op::linear && node.op != Op::geglu_linear) || node.attrs.has("compute") || node.attrs.has("weight_storage")) continue;
    const bool bare = node.op == Op::linear && !node.attrs.has("act") && input_or_none(node, 3) == kNone && input_or_none(node, 5) == kNone;
    std::vector<LowRank> adapters;  // the last first
    NodeId weight = node.inputs[1];
    for (std::optional<LowRank> found; bare && graph[weight].op == Op::add && (found = low_rank(graph, graph[weight].inputs[1]));) {
      adapters.push_back(*found);
      weight = graph[weight].inputs[0];
    }
    const std::string format = format_of(graph, graph[weight]);
    if (format.empty()) continue;
    NodeId sum = kNone;
    while (!adapters.empty()) {
      sum = add_beside(graph, Node(graph[id]), adapters.back(), sum);
      adapters.pop_back();
    }
    Node& linear = graph[id];
    if (sum != kNone) set_input(linear, 3, sum);
    linear.inputs[1] = graph[weight].inputs[0];
    linear.attrs.set("blocks", format);
  }
  graph.normalize();
}

}  // namespace vivace
