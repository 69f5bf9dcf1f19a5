// Linears that become one, whose weights are joined before the run: what the passes that do so share.
#pragma once

#include <vector>

#include "ir/graph.h"

namespace vivace {

// Whether linear `id` is read by one node alone, has a weight of the checkpoint and nothing behind its bias.
bool is_bare_linear(const Graph& graph, const std::vector<int>& use_counts, NodeId id);
// Whether two of them may share one GEMM: the same input, weights of one dtype, a bias for both or for none, equal attributes.
bool may_share(const Graph& graph, const Node& a, const Node& b);
// The linear whose rows are those of `group`, in order; of their node's kind, with the first one's place in the model.
Node joined_linear(Graph& graph, const std::vector<NodeId>& group);

}  // namespace vivace
