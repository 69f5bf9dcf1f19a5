#include "compiler/decompose_unsupported.h"

#include <algorithm>

#include "ops/decompose.h"

namespace vivace {
namespace {

// The node alone, its inputs as inputs, in plain ops.
Graph meaning(const Graph& graph, const Node& node) {
  Builder b(DType::float32);
  std::vector<Value> inputs;
  inputs.reserve(node.inputs.size());
  for (NodeId in : node.inputs)
    inputs.push_back(in == kNone ? Value{} : b.input(std::to_string(in), graph[in].dtype, graph[in].shape, graph[in].phase));
  b.output("result", decompose(b, node, inputs));
  return b.take();
}

class Rewriting {
 public:
  explicit Rewriting(const Graph& graph) : from_(graph) {}

  void keep(const Node& node) {
    Node copy = node;
    for (NodeId& in : copy.inputs)
      if (in != kNone) in = renamed_[static_cast<size_t>(in)];
    renamed_.push_back(to_.add(std::move(copy)));
  }

  void replace(const Node& node) {
    const Graph plain = meaning(from_, node);
    std::vector<NodeId> placed, inputs = node.inputs;  // the present ones, in order: as meaning() makes them
    std::erase(inputs, kNone);
    for (const Node& part : plain.nodes) {
      if (part.op == Op::input) {
        placed.push_back(renamed_[static_cast<size_t>(inputs[placed.size()])]);
        continue;
      }
      Node copy = part;
      for (NodeId& in : copy.inputs)
        if (in != kNone) in = placed[static_cast<size_t>(in)];
      copy.scope = node.scope;
      copy.line = node.line;
      const bool constant = std::ranges::all_of(copy.inputs, [&](NodeId in) { return in == kNone || to_[in].phase == Phase::prepare; });
      copy.phase = constant ? Phase::prepare : node.phase;
      placed.push_back(to_.add(std::move(copy)));
    }
    renamed_.push_back(placed[static_cast<size_t>(plain.outputs[0].second)]);
  }

  Graph take() {
    for (const auto& [name, id] : from_.outputs) to_.outputs.emplace_back(name, renamed_[static_cast<size_t>(id)]);
    to_.normalize();
    return std::move(to_);
  }

 private:
  const Graph& from_;
  Graph to_;
  std::vector<NodeId> renamed_;  // by node of from_
};

}  // namespace

void decompose_unsupported(Graph& graph, const std::function<bool(const Graph&, const Node&)>& supported) {
  std::vector<uint8_t> stays;
  stays.reserve(graph.nodes.size());
  for (const Node& node : graph.nodes) stays.push_back(!is_named(node.op) || supported(graph, node));
  if (std::ranges::count(stays, 0) == 0) return;
  Rewriting rewriting(graph);
  for (NodeId id = 0; id < graph.size(); ++id) {
    if (stays[static_cast<size_t>(id)])
      rewriting.keep(graph[id]);
    else
      rewriting.replace(graph[id]);
  }
  graph = rewriting.take();
}

}  // namespace vivace
