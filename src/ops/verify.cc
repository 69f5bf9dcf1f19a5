// verify: whether a graph is whole.
#include <algorithm>
#include <optional>
#include <string>

#include "base/log.h"
#include "ir/op_attrs.h"
#include "ops/infer.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// What the stage asks of a node's phase: nothing, or one line. Inputs have the phase that they are given in.
std::optional<std::string> phase_error(const Graph& graph, const Node& node, GraphStage stage) {
  if (node.op == Op::input || stage == GraphStage::compiling) return std::nullopt;
  const bool constant = std::ranges::all_of(node.inputs, [&](NodeId in) { return in == kNone || graph[in].phase == Phase::prepare; });
  if (constant != (node.phase == Phase::prepare))
    return cat("runs in ", phase_name(node.phase), constant ? ", and reads nothing but what is prepared" : "");
  if (stage == GraphStage::model && node.phase == Phase::setup) return "runs in setup before any pass has looked at what it depends on";
  return std::nullopt;
}

}  // namespace

void verify(const Graph& graph, GraphStage stage) {
  for (NodeId id = 0; id < graph.size(); ++id) {
    const Node& node = graph[id];
    const OpRow& row = op_row(node.op);
    const auto fail = [&](const std::string& what) {
      throw InternalError(cat("node %", id, " = ", row.name, " in ", node.scope.empty() ? "the graph" : node.scope, ": ", what));
    };
    const int count = static_cast<int>(node.inputs.size());
    if (count < row.min_inputs || (row.max_inputs >= 0 && count > row.max_inputs)) fail(cat("has ", count, " inputs"));
    for (int i = 0; i < count; ++i) {
      const NodeId in = node.inputs[static_cast<size_t>(i)];
      if (in == kNone && i < row.min_inputs) fail(cat("input ", i, " must not be absent"));
      if (in != kNone && (in < 0 || in >= id)) fail(cat("input %", in, " is not defined before it"));
      if (in != kNone && graph[in].phase > node.phase) fail(cat("runs in ", phase_name(node.phase), ", before its input %", in));
    }
    if (const auto error = attrs_error(node.op, node.attrs, stage == GraphStage::model)) fail(*error);
    if (const auto error = phase_error(graph, node, stage)) fail(*error);
    const TensorType type = infer(graph, node);
    if (type.dtype != node.dtype || type.shape != node.shape)
      fail(cat("has type ", dtype_name(node.dtype), to_string(node.shape), ", its rule says ", dtype_name(type.dtype), to_string(type.shape)));
  }
  for (const auto& [name, id] : graph.outputs)
    if (id < 0 || id >= graph.size()) throw InternalError("output " + name + " is not a node");
}

}  // namespace vivace
