#include <algorithm>
#include <map>
#include <utility>

#include "ops/infer.h"
#include "passes/match.h"
#include "passes/passes.h"

namespace vivace {
namespace {

// How a linear wants its rows: of which dtype, turned in blocks of so many or 0.
using Rows = std::pair<DType, int64_t>;

bool wants_rows(const Graph& graph, NodeId id, NodeId x) {
  const Node& node = graph[id];
  return (node.op == Op::linear || node.op == Op::geglu_linear) && is_quantized_rows(quantized_rows(node.attrs.text("compute"))) &&
         node.inputs[0] == x && std::count(node.inputs.begin(), node.inputs.end(), x) == 1 && !is_quantized_rows(graph[x].dtype);
}

// `node` writes quantised rows, as its readers want them.
void write_rows(Node& node, const Rows& rows) {
  node.attrs.set("quantize", std::string(dtype_name(rows.first)));
  if (rows.second > 0) node.attrs.set("hadamard", rows.second);
  node.dtype = rows.first;
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
    std::map<Rows, std::vector<NodeId>> readers;
    for (NodeId user : users[static_cast<size_t>(x)])
      if (const Attrs& attrs = graph[user].attrs; wants_rows(graph, user, x))
        readers[{quantized_rows(attrs.text("compute")), attrs.integer("hadamard")}].push_back(user);
    const DType dtype = graph[x].dtype;
    const Op op = graph[x].op;
    const bool turned = op == Op::rms_norm && input_or_none(graph[x], 2) != kNone;
    const bool writes_rows =
        target.quantized_rows &&
        (op == Op::geglu || ((op == Op::layer_norm || op == Op::rms_norm) && graph[x].attrs.integer("heads", 1) == 1 && !turned));
    for (const auto& [wanted, alike] : readers) {
      if (writes_rows && static_cast<int>(alike.size()) == counts[static_cast<size_t>(x)]) {
        write_rows(graph[x], wanted);
        read_rows(graph, alike, x, dtype);
      } else if (alike.size() > 1) {
        // The GEMM quantises what it alone reads; what several read is quantised for all of them at once.
        Node rows = graph[x];
        rows.op = Op::quantize_rows;
        rows.inputs = {x};
        rows.attrs = {};
        write_rows(rows, wanted);
        if (rows.phase == Phase::prepare) rows.phase = Phase::step;
        read_rows(graph, alike, graph.add(std::move(rows)), dtype);
      }
    }
  }
  graph.normalize();
}

}  // namespace vivace
