#include "compiler/decompose_unsupported.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "ops/decompose.h"

namespace vivace {
namespace {

// The node alone, its inputs as inputs, as `make` has it.
using Make = Value (*)(Builder& b, const Node& node, const std::vector<Value>& inputs);
Graph alone(const Graph& graph, const Node& node, Make make) {
  Builder b(DType::float32);
  std::vector<Value> inputs;
  inputs.reserve(node.inputs.size());
  for (NodeId in : node.inputs)
    inputs.push_back(in == kNone ? Value{} : b.input(std::to_string(in), graph[in].dtype, graph[in].shape, graph[in].phase));
  b.output("result", make(b, node, inputs));
  return b.take();
}

// A convolution's input and residual in float32; kernels read the weight in any type, and the rest in this one.
Value widened(Builder& b, const Node& node, const std::vector<Value>& inputs) {
  constexpr size_t kInput = 0, kResidual = 4;
  std::vector<Value> wide = inputs;
  for (const size_t i : {kInput, kResidual})
    if (i < wide.size() && wide[i]) wide[i] = b.cast(wide[i], DType::float32);
  return b.cast(b.emit(node.op, wide, node.attrs), node.dtype);
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

  void replace(const Node& node, const Graph& plain) {
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
      copy.file = node.file;
      copy.line = node.line;
      copy.region = node.region;
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

// Puts in the place of each node what `other` has for it, if anything.
void replace_nodes(Graph& graph, const std::function<std::optional<Graph>(const Node&)>& other) {
  std::map<NodeId, Graph> others;
  for (NodeId id = 0; id < graph.size(); ++id)
    if (auto made = other(graph[id])) others.emplace(id, std::move(*made));
  if (others.empty()) return;
  Rewriting rewriting(graph);
  for (NodeId id = 0; id < graph.size(); ++id)
    if (const auto found = others.find(id); found != others.end())
      rewriting.replace(graph[id], found->second);
    else
      rewriting.keep(graph[id]);
  graph = rewriting.take();
}

}  // namespace

void decompose_unsupported(Graph& graph, const std::function<bool(const Graph&, const Node&)>& supported) {
  replace_nodes(graph, [&](const Node& node) -> std::optional<Graph> {
    if (!is_named(node.op) || supported(graph, node)) return std::nullopt;
    return alone(graph, node, decompose);
  });
}

void widen_unsupported(Graph& graph, const std::function<bool(const Graph&, const Node&)>& compiled) {
  replace_nodes(graph, [&](const Node& node) -> std::optional<Graph> {
    if (node.op != Op::conv2d || node.dtype == DType::float32 || compiled(graph, node)) return std::nullopt;
    Graph wide = alone(graph, node, widened);
    const auto takes = [&](const Node& part) { return part.op != Op::conv2d || compiled(wide, part); };
    return std::ranges::all_of(wide.nodes, takes) ? std::optional(std::move(wide)) : std::nullopt;
  });
}

}  // namespace vivace
