#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {
namespace {

constexpr size_t kWeight = 1, kBias = 2;

bool is_plain(const Node& norm) {
  return input_or_none(norm, kWeight) == kNone && input_or_none(norm, kBias) == kNone && norm.attrs.integer("heads", 1) == 1;
}

}  // namespace

void fuse_modulation(Graph& graph, const Target& target) {
  if (!target.epilogues) return;
  const auto counts = graph.use_counts();
  for (Node& node : graph.nodes) {
    if (node.op != Op::add) continue;
    for (size_t side : {0, 1}) {
      const NodeId product = node.inputs[side], shift = node.inputs[1 - side];
      if (!is_only_for_its_reader(graph, counts, product, Op::mul) || !is_of_images(graph[shift].shape, node.shape)) continue;
      const Node mul = graph[product];
      for (size_t of_mul : {0, 1}) {
        const NodeId id = mul.inputs[of_mul], scale = mul.inputs[1 - of_mul];
        if (!is_only_for_its_reader(graph, counts, id, Op::layer_norm) || !is_plain(graph[id]) || !is_of_images(graph[scale].shape, node.shape))
          continue;
        take_over(node, graph[id]);
        set_input(node, kWeight, scale);
        set_input(node, kBias, shift);
        break;
      }
      if (node.op == Op::layer_norm) break;
    }
  }
  graph.normalize();
}

}  // namespace vivace
