#include <algorithm>

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

void read_quantized(Graph& graph, NodeId reader, NodeId rows, DType result) {
  Node& node = graph[reader];
  node.inputs[0] = rows;
  node.attrs.set("to", std::string(dtype_name(result)));
}

}  // namespace

void fuse_quantize(Graph& graph, const Target& target) {
  const auto users = graph.users();
  const auto counts = graph.use_counts();
  const NodeId count = graph.size();
  for (NodeId x = 0; x < count; ++x) {
    std::vector<NodeId> readers;
    for (NodeId user : users[static_cast<size_t>(x)])
      if (wants_int8(graph, user, x)) readers.push_back(user);
    if (readers.empty()) continue;
    const DType dtype = graph[x].dtype;
    const Op op = graph[x].op;
    const bool turned = op == Op::rms_norm && input_or_none(graph[x], 2) != kNone;
    const bool writes_rows =
        target.quantized_rows &&
        (op == Op::geglu || ((op == Op::layer_norm || op == Op::rms_norm) && graph[x].attrs.integer("heads", 1) == 1 && !turned));
    if (writes_rows && static_cast<int>(readers.size()) == counts[static_cast<size_t>(x)]) {
      Node& producer = graph[x];
      producer.attrs.set("quantize", int64_t{1});
      producer.dtype = DType::uint8;
      producer.shape.back() = quantized_columns(producer.shape.back());
      for (NodeId reader : readers) read_quantized(graph, reader, x, dtype);
    } else if (readers.size() > 1) {
      // The GEMM quantises what it alone reads; what several read is quantised for all of them at once.
      Node rows = graph[x];
      rows.op = Op::quantize_rows;
      rows.inputs = {x};
      rows.attrs = {};
      rows.dtype = DType::uint8;
      rows.shape.back() = quantized_columns(rows.shape.back());
      if (rows.phase == Phase::prepare) rows.phase = Phase::step;
      const NodeId all = graph.add(std::move(rows));
      for (NodeId reader : readers) read_quantized(graph, reader, all, dtype);
    }
  }
  graph.normalize();
}

}  // namespace vivace
