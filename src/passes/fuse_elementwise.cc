#include <algorithm>

#include "ops/tile_program.h"
#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {
namespace {

struct Chain {
  const Target& target;
  std::vector<TileInstruction> instructions;
  std::vector<NodeId> inputs;

  // Whether one more op fits, with what it reads and a cast behind it.
  bool has_room() const { return std::ssize(instructions) + 2 < target.tile_instructions && std::ssize(inputs) + 1 < target.tile_inputs; }
  int input(NodeId id) {
    const auto found = std::ranges::find(inputs, id);
    if (found == inputs.end()) inputs.push_back(id);
    return ~static_cast<int>(std::ranges::find(inputs, id) - inputs.begin());
  }
};

bool is_float(const Node& node) { return node.dtype == DType::float32 || node.dtype == DType::bfloat16 || node.dtype == DType::float16; }

// Writes the value of `id` into the chain, its elementwise producers included where nobody else reads them and their shape is the result's.
int write(const Graph& graph, const std::vector<int>& counts, NodeId id, NodeId root, Chain& chain) {
  const Node& node = graph[id];
  const bool inlined = id == root || (is_elementwise(node.op) && counts[static_cast<size_t>(id)] == 1 && node.shape == graph[root].shape &&
                                      node.phase == graph[root].phase && is_float(node));
  if (!inlined || !chain.has_room()) return chain.input(id);
  TileInstruction t{node.op, {}, node.attrs};
  for (NodeId in : node.inputs) t.args.push_back(write(graph, counts, in, root, chain));
  chain.instructions.push_back(std::move(t));
  int at = static_cast<int>(chain.instructions.size()) - 1;
  // What would have been stored narrow is rounded, so that fusing changes no value.
  if (id != root && node.dtype != DType::float32 && node.op != Op::cast) {
    chain.instructions.push_back({Op::cast, {at}, {{"to", std::string(dtype_name(node.dtype))}}});
    ++at;
  }
  return at;
}

}  // namespace

void fuse_elementwise(Graph& graph, const Target& target) {
  if (target.tile_instructions == 0) return;
  const auto counts = graph.use_counts();
  for (NodeId id = graph.size(); id-- > 0;) {
    Node& node = graph[id];
    if (!is_elementwise(node.op) || !is_float(node) || !std::ranges::all_of(node.inputs, [&](NodeId in) { return is_float(graph[in]); })) continue;
    Chain chain{target, {}, {}};
    write(graph, counts, id, id, chain);
    if (chain.instructions.size() < 2) continue;
    node.op = Op::tile;
    node.inputs = chain.inputs;
    node.attrs = {{"program", TileText(chain.instructions).text()}, {"to", std::string(dtype_name(node.dtype))}};
  }
  graph.normalize();
}

}  // namespace vivace
