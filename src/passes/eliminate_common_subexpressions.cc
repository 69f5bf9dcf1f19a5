#include <unordered_map>

#include "base/log.h"
#include "passes/passes.h"

namespace vivace {

void eliminate_common_subexpressions(Graph& graph) {
  std::unordered_map<std::string, NodeId> seen;
  for (NodeId id = 0; id < graph.size(); ++id) {
    Node& node = graph[id];
    if (node.op == Op::input) continue;
    std::string key = cat(op_name(node.op), '(', print_attrs(node.attrs), ')', dtype_name(node.dtype), to_string(node.shape));
    for (NodeId in : node.inputs) key += ',' + std::to_string(in);
    const auto [first, is_new] = seen.emplace(std::move(key), id);
    if (!is_new) graph.replace_uses(id, first->second);
  }
  graph.normalize();
}

}  // namespace vivace
