#include <map>

#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {
namespace {

// Linears that may share one GEMM: the same input, constant weights of one dtype, a bias for all or for none, no epilogue.
bool may_share(const Graph& graph, const Node& a, const Node& b) {
  const NodeId wa = a.inputs[1], wb = b.inputs[1];
  return a.inputs[0] == b.inputs[0] && graph[wa].dtype == graph[wb].dtype && a.attrs == b.attrs &&
         (input_or_none(a, 2) == kNone) == (input_or_none(b, 2) == kNone) && a.dtype == b.dtype && a.phase == b.phase;
}

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
  return graph.add(std::move(concat));
}

void merge(Graph& graph, const std::vector<NodeId>& group) {
  Node linear = graph[group[0]];
  linear.inputs[1] = joined(graph, group, 1);
  for (size_t i : {2, 4})  // biases, scales of 8-bit weights
    if (input_or_none(linear, i) != kNone) linear.inputs[i] = joined(graph, group, i);
  linear.shape.back() = graph[linear.inputs[1]].shape[0];
  const NodeId all = graph.add(std::move(linear));
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

}  // namespace

void fuse_projections(Graph& graph) {
  const auto counts = graph.use_counts();
  const NodeId count = graph.size();
  for (NodeId attention = 0; attention < count; ++attention) {
    if (graph[attention].op != Op::attention) continue;
    std::vector<NodeId> group;
    for (size_t i = 0; i < 3; ++i) {
      const NodeId id = graph[attention].inputs[i];
      const bool bare = is_only_for_its_reader(graph, counts, id, Op::linear) && !graph[id].attrs.has("act") &&
                        input_or_none(graph[id], 3) == kNone && graph[graph[id].inputs[1]].op == Op::weight;
      // Keys and values share an input always; queries do in self-attention.
      if (bare && (group.empty() || may_share(graph, graph[group[0]], graph[id])))
        group.push_back(id);
      else if (bare && i == 1)
        group = {id};
    }
    if (group.size() > 1) merge(graph, group);
  }
  graph.normalize();
}

}  // namespace vivace
