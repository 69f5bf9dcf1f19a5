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

}  // namespace

void fuse_projections(Graph& graph) {
  const auto counts = graph.use_counts();
  const NodeId count = graph.size();
  for (NodeId attention = 0; attention < count; ++attention) {
    if (graph[attention].op != Op::attention) continue;
    std::vector<NodeId> group;
    for (size_t i = 0; i < 3; ++i) {
      const NodeId id = graph[attention].inputs[i];
      const bool bare = is_bare_linear(graph, counts, id);
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
