// Small questions that passes ask.
#pragma once

#include <initializer_list>
#include <vector>

#include "ir/graph.h"

namespace vivace {

// Whether `id` is `op` and nobody but one reader looks at it.
inline bool is_only_for_its_reader(const Graph& graph, const std::vector<int>& use_counts, NodeId id, Op op) {
  return id != kNone && graph[id].op == op && use_counts[static_cast<size_t>(id)] == 1;
}

inline NodeId input_or_none(const Node& node, size_t i) { return i < node.inputs.size() ? node.inputs[i] : kNone; }

// One vector of features for each image of [N, tokens, C], or for all of them.
inline bool is_of_images(const Shape& vector, const Shape& images) {
  return images.size() == 3 && vector.size() == 3 && (vector[0] == 1 || vector[0] == images[0]) && vector[1] == 1 && vector[2] == images[2];
}

// Sets input i, with absent ones before it where needed.
inline void set_input(Node& node, size_t i, NodeId value) {
  if (node.inputs.size() <= i) node.inputs.resize(i + 1, kNone);
  node.inputs[i] = value;
}

// `consumer` becomes what `producer` is, keeping its own name, type and phase.
inline void take_over(Node& consumer, const Node& producer) {
  consumer.op = producer.op;
  consumer.inputs = producer.inputs;
  consumer.attrs = producer.attrs;
  consumer.scope = producer.scope;
  consumer.file = producer.file;
  consumer.line = producer.line;
}

// What rounding costs a product anyway: a direct convolution of SDXL's widest in float32, the factors' or the result's own rounding in 16 bits.
inline double usual_error(const Node& node) { return node.dtype == DType::float32 && node.attrs.text("matmul_precision") != "medium" ? 2e-6 : 5e-3; }

}  // namespace vivace
