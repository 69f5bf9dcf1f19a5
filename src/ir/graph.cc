#include "ir/graph.h"

#include <algorithm>
#include <functional>
#include <map>

#include "vivace/error.h"

namespace vivace {

std::string_view phase_name(Phase phase) {
  constexpr std::string_view names[] = {"prepare", "setup", "step"};
  return names[static_cast<int>(phase)];
}

std::string Graph::source_line(NodeId id) const {
  const std::string_view file = (*this)[id].file;
  if (file.empty()) return "";
  const size_t root = file.rfind("src/");  // of the source tree
  return std::string(root == std::string_view::npos ? file : file.substr(root)) + ':' + std::to_string((*this)[id].line);
}

std::vector<std::vector<NodeId>> Graph::users() const {
  std::vector<std::vector<NodeId>> result(nodes.size());
  for (NodeId id = 0; id < size(); ++id)
    for (NodeId in : (*this)[id].inputs)
      if (in != kNone && (result[in].empty() || result[in].back() != id)) result[in].push_back(id);
  return result;
}

std::vector<int> Graph::use_counts() const {
  std::vector<int> counts(nodes.size());
  for (const Node& node : nodes)
    for (NodeId in : node.inputs)
      if (in != kNone) ++counts[in];
  for (const auto& [name, id] : outputs) ++counts[id];
  return counts;
}

void Graph::replace_uses(NodeId from, NodeId to) {
  for (Node& node : nodes) std::ranges::replace(node.inputs, from, to);
  for (auto& [name, id] : outputs)
    if (id == from) id = to;
}

void Graph::normalize() {
  // Depth first from the outputs, on a stack of our own: a UNet's chain is thousands of nodes deep.
  std::vector<NodeId> renamed(nodes.size(), kNone);
  std::vector<uint8_t> state(nodes.size());  // 0 unseen, 1 open, 2 done
  std::vector<Node> sorted;
  sorted.reserve(nodes.size());
  const auto emit = [&](NodeId id) {
    Node node = std::move(nodes[id]);
    for (NodeId& in : node.inputs)
      if (in != kNone) in = renamed[in];
    renamed[id] = static_cast<NodeId>(sorted.size());
    sorted.push_back(std::move(node));
    state[id] = 2;
  };
  // Parts of a joined concat from the largest on, so that what that is made of is gone before the smaller ones are made: the buffer that they share
  // lives from the first part on.
  std::map<NodeId, std::vector<NodeId>> largest_first;
  for (NodeId id = 0; id < size(); ++id)
    if (nodes[id].op == Op::concat && nodes[id].attrs.has("join")) {
      std::vector<NodeId>& parts = largest_first[id] = nodes[id].inputs;
      std::ranges::stable_sort(parts, std::greater(), [&](NodeId part) { return numel(nodes[part].shape); });
    }
  std::vector<std::pair<NodeId, size_t>> stack;
  const auto visit = [&](NodeId root) {
    if (state[root] == 2) return;
    stack.push_back({root, 0});
    while (!stack.empty()) {
      const auto [id, next] = stack.back();
      state[id] = 1;
      if (next == nodes[id].inputs.size()) {
        if (state[id] != 2) emit(id);
        stack.pop_back();
        continue;
      }
      ++stack.back().second;
      const auto parts = largest_first.find(id);
      const NodeId in = parts == largest_first.end() ? nodes[id].inputs[next] : parts->second[next];
      if (in == kNone || state[in] == 2) continue;
      if (state[in] == 1) throw InternalError("the graph has a cycle");
      stack.push_back({in, 0});
    }
  };
  for (NodeId id = 0; id < size(); ++id)
    if (nodes[id].op == Op::input) visit(id);
  for (const auto& [name, id] : outputs) visit(id);
  for (auto& [name, id] : outputs) id = renamed[id];
  nodes = std::move(sorted);
}

}  // namespace vivace
