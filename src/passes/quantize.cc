#include <algorithm>

#include "passes/passes.h"
#include "tensor/narrow_weight.h"

namespace vivace {
namespace {

bool is_linear(const Node& node) { return node.op == Op::linear || node.op == Op::geglu_linear; }

// The largest power of two that divides the features, up to 256; 0 below 16, where there is little to spread an outlier over.
int64_t hadamard_block(int64_t features) {
  const int64_t block = std::min<int64_t>(256, features & -features);
  return block < 16 ? 0 : block;
}

}  // namespace

void quantize(Graph& graph, const CompileOptions& options) {
  if (options.quantize.empty()) return;
  for (Node& node : graph.nodes) {
    if (!is_linear(node)) continue;
    const auto wanted = options.quantize.find(node.scope);
    if (wanted == options.quantize.end() || wanted->second == Quantization::none) continue;
    const Node& weight = graph[node.inputs[1]];
    const DType storage = stored_dtype(wanted->second);
    const bool stored = is_narrow(weight.dtype);
    // A checkpoint that holds 8 bits already keeps them as they are.
    if (stored && weight.dtype != storage) continue;
    if (multiplies_int8(wanted->second)) {
      node.attrs.set("compute", "int8_dynamic");
      const int64_t block = wanted->second == Quantization::int8_dynamic_rotated && !stored ? hadamard_block(weight.shape[1]) : 0;
      if (block > 0) node.attrs.set("hadamard", block);
      if (!options.flags.force_fuse_int_mm_with_mul) node.attrs.set("epilogue", "separate");
    } else if (wanted->second == Quantization::float8_dynamic) {
      node.attrs.set("compute", "float8_dynamic");
    } else {
      node.attrs.set("weight_storage", std::string(dtype_name(storage)));
      if (!options.flags.use_mixed_mm) node.attrs.set("decode", "separate");
    }
  }
}

}  // namespace vivace
