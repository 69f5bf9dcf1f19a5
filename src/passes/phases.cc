#include <algorithm>

#include "passes/passes.h"

namespace vivace {

void assign_phases(Graph& graph) {
  for (Node& node : graph.nodes) {
    if (node.op == Op::input) continue;
    const bool constant = std::ranges::all_of(node.inputs, [&](NodeId in) { return in == kNone || graph[in].phase == Phase::prepare; });
    if (constant)
      node.phase = Phase::prepare;
    else
      node.phase = std::max(node.phase, Phase::setup) == Phase::setup ? Phase::setup : Phase::step;
    for (NodeId in : node.inputs)
      if (in != kNone) node.phase = std::max(node.phase, graph[in].phase);
  }
}

void hoist_step_invariant(Graph& graph) {
  for (Node& node : graph.nodes) {
    if (node.op == Op::input || node.phase == Phase::prepare) continue;
    Phase latest = Phase::prepare;
    for (NodeId in : node.inputs)
      if (in != kNone) latest = std::max(latest, graph[in].phase);
    node.phase = latest;
  }
}

}  // namespace vivace
