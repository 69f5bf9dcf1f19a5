#include <algorithm>
#include <map>

#include "ops/infer.h"
#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {
namespace {

bool wants_int8(const Graph& graph, NodeId id, NodeId x) {
  const Node& node = graph[id];
  return (node.op == Op::linear || node.op == Op::geglu_linear) && node.attrs.text("compute") == "int8_dynamic" && node.inputs[0] == x &&
         std::count(node.inputs.begin(), node.inputs.end(), x) == 1 && graph[x].dtype != DType::uint8;
}

// `node` writes quantised rows, turned as its readers want them.
void write_rows(Node& node, int64_t hadamard) {
  if (hadamard > 0) node.attrs.set("hadamard", hadamard);
  node.dtype = DType::uint8;
  node.shape.back() = quantized_columns(node.shape.back());
}

void read_rows(Graph& graph, const std::vector<NodeId>& readers, NodeId rows, DType result) {
  for (NodeId reader : readers) {
    Node& node = graph[reader];
    node.inputs[0] = rows;
    node.attrs.set("to", std::string(dtype_name(result)));
  }
}

}  // namespace

void fuse_quantize(Graph& graph, const Target& target) {
  const auto users = graph.users();
  const auto counts = graph.use_counts();
  const NodeId count = graph.size();
  for (NodeId x = 0; x < count; ++x) {
    std::map<int64_t, std::vector<NodeId>> readers;  // by the blocks in which they want it turned
    for (NodeId user : users[static_cast<size_t>(x)])
      if (wants_int8(graph, user, x)) readers[graph[user].attrs.integer("hadamard")].push_back(user);
    const DType dtype = graph[x].dtype;
    const Op op = graph[x].op;
    const bool turned = op == Op::rms_norm && input_or_none(graph[x], 2) != kNone;
    const bool writes_rows =
        target.quantized_rows &&
        (op == Op::geglu || ((op == Op::layer_norm || op == Op::rms_norm) && graph[x].attrs.integer("heads", 1) == 1 && !turned));
    for (const auto& [hadamard, alike] : readers) {
      if (writes_rows && static_cast<int>(alike.size()) == counts[static_cast<size_t>(x)]) {
        graph[x].attrs.set("quantize", int64_t{1});
        write_rows(graph[x], hadamard);
        read_rows(graph, alike, x, dtype);
      } else if (alike.size() > 1) {
        // The GEMM quantises what it alone reads; what several read is quantised for all of them at once.
        Node rows = graph[x];
        rows.op = Op::quantize_rows;
        rows.inputs = {x};
        rows.attrs = {};
        write_rows(rows, hadamard);
        if (rows.phase == Phase::prepare) rows.phase = Phase::step;
        read_rows(graph, alike, graph.add(std::move(rows)), dtype);
      }
    }
  }
  graph.normalize();
}

}  // namespace vivace
