// Graph: the model while it is being compiled. Nodes are in topological order, one value each, so a NodeId names both.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ir/attrs.h"
#include "ir/op.h"
#include "vivace/tensor.h"

namespace vivace {

using NodeId = int32_t;
inline constexpr NodeId kNone = -1;  // an optional input that is absent

// When a value is computed. Order matters: a node's phase is at least that of its inputs.
enum class Phase : uint8_t {
  prepare,  // once for a set of weights
  setup,    // once for a prompt
  step,     // every denoising step, or every call
};
std::string_view phase_name(Phase phase);

struct Node {
  Op op{};
  std::vector<NodeId> inputs;
  Attrs attrs;
  DType dtype = DType::float32;
  Shape shape;
  std::string scope;  // where in the model: "down_blocks.1.attentions.0"
  const char* file =
      "";  // the builder's source line, for error messages: std::source_location's, or another string that lives as long as the program
  int line = 0;
  Phase phase = Phase::step;
  bool region = false;  // inside a compiled region, while the graph around it is eager
};

struct Graph {
  std::vector<Node> nodes;
  std::vector<std::pair<std::string, NodeId>> outputs;
  // What Diffusers or transformers calls the blocks of the model, by their scopes: "down_blocks.1.resnets.0" is a "ResnetBlock2D". No part of the
  // text.
  std::map<std::string, std::string> block_classes;

  // "src/models/common/layers.cc:17", or "" where the graph came from text.
  std::string source_line(NodeId id) const;

  const Node& operator[](NodeId id) const { return nodes[static_cast<size_t>(id)]; }
  Node& operator[](NodeId id) { return nodes[static_cast<size_t>(id)]; }
  NodeId size() const { return static_cast<NodeId>(nodes.size()); }
  NodeId add(Node node) {
    nodes.push_back(std::move(node));
    return size() - 1;
  }

  // users[i]: the nodes that read value i, each once, and outputs do not count.
  std::vector<std::vector<NodeId>> users() const;
  // How often each value is read, outputs included.
  std::vector<int> use_counts() const;
  // Every reader of `from` reads `to` instead.
  void replace_uses(NodeId from, NodeId to);
  // Restores the invariant after a rewrite: drops what no output needs (graph inputs stay) and sorts topologically.
  void normalize();
};

// Text, one node a line; parse(print(g)) prints the same again.
//   %3 = linear(%0, %1, %2, _, act="silu") : bfloat16[2, 77, 64]  # scope
//   return sample=%3
std::string print(const Graph& graph, bool with_scopes = false);
// Throws UserError with the line at fault.
Graph parse_graph(std::string_view text);
std::string print_attrs(const Attrs& attrs);

}  // namespace vivace
