#include <optional>

#include "passes/join_linears.h"
#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {
namespace {

// The linear behind an activation that a GEMM gates by, all read by `reader` alone.
std::optional<NodeId> gate_of(const Graph& graph, const std::vector<int>& counts, NodeId activation) {
  for (Op op : {Op::gelu, Op::gelu_tanh, Op::silu})
    if (is_only_for_its_reader(graph, counts, activation, op) && is_bare_linear(graph, counts, graph[activation].inputs[0]))
      return graph[activation].inputs[0];
  return std::nullopt;
}

}  // namespace

void fuse_gated_linears(Graph& graph, const Target& target) {
  if (!target.gates) return;
  const auto counts = graph.use_counts();
  const NodeId count = graph.size();
  for (NodeId id = 0; id < count; ++id) {
    if (graph[id].op != Op::mul) continue;
    for (size_t side : {0, 1}) {
      const NodeId activation = graph[id].inputs[side], value = graph[id].inputs[1 - side];
      const auto gate = gate_of(graph, counts, activation);
      if (!gate || value == *gate || !is_bare_linear(graph, counts, value) || !may_share(graph, graph[value], graph[*gate])) continue;
      if (graph[value].shape != graph[*gate].shape || graph[id].shape != graph[value].shape || graph[id].dtype != graph[value].dtype) continue;
      Node both = joined_linear(graph, {value, *gate});
      both.op = Op::geglu_linear;
      both.attrs.set("act", std::string(op_name(graph[activation].op)));
      take_over(graph[id], both);
      break;
    }
  }
  graph.normalize();
}

}  // namespace vivace
