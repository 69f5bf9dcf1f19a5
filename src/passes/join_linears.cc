#include "passes/join_linears.h"

#include <algorithm>

#include "passes/match.h"

namespace vivace {
namespace {

NodeId joined(Graph& graph, const std::vector<NodeId>& group, size_t input) {
  Node concat = graph[graph[group[0]].inputs[input]];
  concat.op = Op::concat;
  concat.attrs = {{"axis", int64_t{0}}};
  concat.inputs.clear();
  concat.shape[0] = 0;
  concat.phase = Phase::prepare;
  for (NodeId id : group) {
    concat.inputs.push_back(graph[id].inputs[input]);
    concat.shape[0] += graph[graph[id].inputs[input]].shape[0];
  }
  // Linears of several images have one weight.
  const auto made = std::find_if(graph.nodes.rbegin(), graph.nodes.rend(), [&](const Node& node) {
    return node.op == Op::concat && node.inputs == concat.inputs && node.attrs == concat.attrs;
  });
  if (made != graph.nodes.rend()) return static_cast<NodeId>(graph.nodes.rend() - made) - 1;
  return graph.add(std::move(concat));
}

// As the checkpoint stores it, or the values of its blocks.
bool is_of_checkpoint(const Graph& graph, const Node& weight) {
  return weight.op == Op::weight || (weight.op == Op::widen && graph[weight.inputs[0]].op == Op::weight);
}

}  // namespace

bool is_bare_linear(const Graph& graph, const std::vector<int>& use_counts, NodeId id) {
  if (!is_only_for_its_reader(graph, use_counts, id, Op::linear)) return false;
  const Node& linear = graph[id];
  return !linear.attrs.has("act") && input_or_none(linear, 3) == kNone && input_or_none(linear, 5) == kNone &&
         is_of_checkpoint(graph, graph[linear.inputs[1]]);
}

bool may_share(const Graph& graph, const Node& a, const Node& b) {
  const NodeId wa = a.inputs[1], wb = b.inputs[1];
  return a.inputs[0] == b.inputs[0] && graph[wa].dtype == graph[wb].dtype && a.attrs == b.attrs &&
         (input_or_none(a, 2) == kNone) == (input_or_none(b, 2) == kNone) && a.dtype == b.dtype && a.phase == b.phase;
}

Node joined_linear(Graph& graph, const std::vector<NodeId>& group) {
  Node linear = graph[group[0]];
  linear.inputs[1] = joined(graph, group, 1);
  for (size_t i : {2, 4})  // biases, scales of 8-bit weights
    if (input_or_none(linear, i) != kNone) linear.inputs[i] = joined(graph, group, i);
  linear.shape.back() = graph[linear.inputs[1]].shape[0];
  return linear;
}

}  // namespace vivace
