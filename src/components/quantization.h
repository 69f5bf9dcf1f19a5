// Which linear layers of a component are quantised: filters over its graph, presets, measurement.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "components/component_cache.h"
#include "ir/graph.h"
#include "vivace/quantize.h"
#include "weights/weight_stack.h"

namespace vivace {

using LayerQuantization = std::map<std::string, Quantization>;  // CompileOptions::quantize

struct LinearLayer {
  LinearInfo info;
  int64_t rows = 0;    // of its input
  std::string weight;  // the tensor's name
  DType stored = DType::float32;
};
// The linear layers of a graph before any pass, and the 1x1 convolutions that the pass conv_1x1_as_mm makes some of.
std::vector<LinearLayer> linear_layers(Graph graph, const CompileOptions& options);

// Layers that the checkpoint stores in 8 bits of another type than `kind` needs are left out. Warns when the filter matches nothing. Throws UserError
// where the CPU cannot multiply in 8 bits.
LayerQuantization choose_layers(const Graph& graph, const CompileOptions& options, Quantization kind, const QuantizeFilter& filter);

// apply_dynamic_quant's measured filter for the sizes of `graph`, for activations of `dtype`; what it found is logged, and kept in the component's
// cache, from which later starts take it. The error of a layer whose weight is not as stored is not looked at. For the weight-only kinds nothing is
// timed.
QuantizeFilter measured_filter(const Graph& graph, const CompileOptions& options, const WeightStack* weights, DType dtype, Quantization kind,
                               const ComponentCache* cache = nullptr);

}  // namespace vivace
