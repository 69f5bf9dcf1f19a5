// Shape rules: what an op makes of its inputs. The one place that knows; the builder, the verifier and dynamic shapes ask here.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "ir/graph.h"

namespace vivace {

// What is known of a value without its contents.
struct TensorType {
  DType dtype = DType::float32;
  Shape shape;
  int64_t bytes() const { return numel(shape) * static_cast<int64_t>(dtype_size(dtype)); }  // without gaps between rows
  bool operator==(const TensorType&) const = default;
};

// Quantised rows (op_list.inc): their dtypes, and the one that linears with that attribute `compute` multiply; float32 without products of 8 bits.
inline bool is_quantized_rows(DType dtype) { return dtype == DType::uint8 || dtype == DType::float8_e4m3; }
DType quantized_rows(const std::string& compute);
// Columns of K features as such: the bytes of a row, padded for the GEMM, and of what is known of it.
inline constexpr int64_t kQuantizedRowScale = 8;
inline int64_t quantized_columns(int64_t k) { return (k + 3) / 4 * 4 + kQuantizedRowScale; }

// Features of a linear's input, by its attributes and its weight's shape; -1 where that is of no whole blocks.
int64_t weight_features(const Attrs& attrs, const Shape& weight);

// Inputs are in the op's order; an absent optional input is nullopt. Sources keep `declared`.
// Throws InternalError, naming the op, what it got and what it wants, when the inputs do not fit.
TensorType infer(Op op, const Attrs& attrs, std::span<const std::optional<TensorType>> inputs, const TensorType& declared = {});

// The same for a node of a graph.
TensorType infer(const Graph& graph, const Node& node);

// The first entry along `axis` of `whole` that a slice of these attributes takes; `part`: the slice's shape.
int64_t slice_begin(const Attrs& attrs, const Shape& whole, const Shape& part, size_t axis);

// NumPy's broadcasting of two shapes. Throws InternalError when they do not fit.
Shape broadcast(const Shape& a, const Shape& b);

// Where a graph stands, and so what else holds of it.
enum class GraphStage : uint8_t {
  model,      // as a model builds it: no attribute that passes set, and no phase but that of what each node reads
  compiling,  // between passes
  compiled,   // after them: what depends on weights alone is prepared
};

// Throws InternalError naming the node when an invariant of graph.h, of the op table or of the stage is broken, or a type differs from the rule's.
void verify(const Graph& graph, GraphStage stage);

}  // namespace vivace
