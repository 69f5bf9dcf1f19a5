#include "passes/join_linears.h"
#include "passes/passes.h"

namespace vivace {
namespace {

void merge(Graph& graph, const std::vector<NodeId>& group) {
  const NodeId all = graph.add(joined_linear(graph, group));
  int64_t begin = 0;
  for (NodeId id : group) {
    Node& part = graph[id];
    const int64_t end = begin + part.shape.back();
    part.op = Op::slice;
    part.inputs = {all};
    part.attrs = {{"axis", int64_t{-1}}, {"begin", begin}, {"end", end}};
    begin = end;
  }
}

// The linear that makes an attention's input, or a part of one, before the heads are normed and turned.
NodeId projection_behind(const Graph& graph, const std::vector<int>& counts, NodeId id) {
  const auto is_of_heads = [](Op op) { return op == Op::rms_norm || op == Op::layer_norm || op == Op::rotary; };
  while (is_of_heads(graph[id].op) && counts[static_cast<size_t>(id)] == 1) id = graph[id].inputs[0];
  return id;
}

bool joins_sequences(const Node& node) { return node.op == Op::concat && node.shape.size() == 3 && node.attrs.integer("axis") == 1; }

// The parts of an attention's input: text and image where it is a joint sequence.
std::vector<NodeId> parts_of(const Graph& graph, const std::vector<int>& counts, NodeId id) {
  if (joins_sequences(graph[id]) && counts[static_cast<size_t>(id)] == 1) return {graph[id].inputs.begin(), graph[id].inputs.end()};
  return {id};
}

// Equal columns of several sequences, joined, are these columns of the sequences joined: with one image no copy, as its rows follow one another.
void slice_behind_join(Graph& graph, NodeId id) {
  Node& join = graph[id];
  if (!joins_sequences(join) || join.shape[0] != 1) return;
  Node wholes = join;
  for (NodeId& in : wholes.inputs) {
    const Node& part = graph[in];
    if (part.op != Op::slice || part.attrs != graph[join.inputs[0]].attrs || part.attrs.integer("axis") != -1 || part.inputs.size() != 1) return;
    in = part.inputs[0];
    if (graph[in].op != Op::linear || graph[in].shape.back() != graph[graph[join.inputs[0]].inputs[0]].shape.back()) return;
  }
  wholes.shape.back() = graph[wholes.inputs[0]].shape.back();
  const Attrs columns = graph[join.inputs[0]].attrs;
  const NodeId all = graph.add(std::move(wholes));
  Node& slice = graph[id];
  slice.op = Op::slice;
  slice.inputs = {all};
  slice.attrs = columns;
}

}  // namespace

void fuse_projections(Graph& graph) {
  const auto counts = graph.use_counts();
  const NodeId count = graph.size();
  for (NodeId attention = 0; attention < count; ++attention) {
    if (graph[attention].op != Op::attention) continue;
    std::vector<NodeId> parts[3];
    for (size_t i = 0; i < 3; ++i) parts[i] = parts_of(graph, counts, graph[attention].inputs[i]);
    if (parts[0].size() != parts[1].size() || parts[1].size() != parts[2].size()) continue;
    for (size_t part = 0; part < parts[0].size(); ++part) {
      std::vector<NodeId> group;
      for (size_t i = 0; i < 3; ++i) {
        const NodeId id = projection_behind(graph, counts, parts[i][part]);
        const bool bare = is_bare_linear(graph, counts, id);
        // Keys and values share an input always; queries do in self-attention.
        if (bare && (group.empty() || may_share(graph, graph[group[0]], graph[id])))
          group.push_back(id);
        else if (bare && i == 1)
          group = {id};
      }
      if (group.size() > 1) merge(graph, group);
    }
    for (size_t i = 0; i < 3; ++i) slice_behind_join(graph, graph[attention].inputs[i]);
  }
  graph.normalize();
}

}  // namespace vivace
