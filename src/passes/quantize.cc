#include "passes/passes.h"

namespace vivace {
namespace {

bool is_linear(const Node& node) { return node.op == Op::linear || node.op == Op::geglu_linear; }

// The dtype a weight is kept in.
DType storage_of(Quantization kind) { return kind == Quantization::float8_weight_only ? DType::float8_e4m3 : DType::int8; }

}  // namespace

void quantize(Graph& graph, const CompileOptions& options) {
  if (options.quantize.empty()) return;
  for (Node& node : graph.nodes) {
    if (!is_linear(node)) continue;
    const auto wanted = options.quantize.find(node.scope);
    if (wanted == options.quantize.end() || wanted->second == Quantization::none) continue;
    const DType storage = storage_of(wanted->second), stored = graph[node.inputs[1]].dtype;
    // A checkpoint that holds 8 bits already keeps them as they are.
    if ((stored == DType::int8 || stored == DType::float8_e4m3) && stored != storage) continue;
    if (wanted->second == Quantization::int8_dynamic) {
      node.attrs.set("compute", "int8_dynamic");
      if (!options.flags.force_fuse_int_mm_with_mul) node.attrs.set("epilogue", "separate");
    } else {
      node.attrs.set("weight_storage", std::string(dtype_name(storage)));
      if (!options.flags.use_mixed_mm) node.attrs.set("decode", "separate");
    }
  }
}

}  // namespace vivace
