#include "components/graph_request.h"

#include <algorithm>

#include "base/log.h"
#include "compiler/symbols.h"
#include "ops/infer.h"

namespace vivace {
namespace {

int64_t granularity_of(const GraphRequest& request, const std::string& name) {
  const auto found = request.granularity.find(name);
  return found == request.granularity.end() ? 1 : found->second;
}

// The least that a dynamic graph is built for.
Sizes dynamic_sizes(const GraphRequest& request) {
  Sizes sizes = request.sizes;
  for (auto size = sizes.begin(); size != sizes.end(); ++size) {
    const int64_t granularity = granularity_of(request, size->first);
    if (granularity == 0) continue;
    // What differs in the call differs in the graph, or it would share a symbol.
    const auto taken = [&](const auto& other) {
      return other.second == size->second && granularity_of(request, other.first) > 0 &&
             request.sizes.at(other.first) != request.sizes.at(size->first);
    };
    while (size->second < 2 * granularity || std::any_of(sizes.begin(), size, taken)) size->second += granularity;
  }
  return sizes;
}

// Whether sizes of the graph's inputs are equal that differ in the call.
bool confuses_sizes(const Graph& graph, const Sizes& asked) {
  Sizes built;
  for (const Node& node : graph.nodes) {
    if (node.op != Op::input) continue;
    const std::vector<PlanDim> dims = parse_dims(node.attrs.text("dims"));
    for (size_t i = 0; i < dims.size(); ++i)
      if (asked.contains(dims[i].name)) built[dims[i].name] = node.shape[i];
  }
  return std::ranges::any_of(built, [&](const auto& a) {
    return std::ranges::any_of(built, [&](const auto& b) { return a.second == b.second && asked.at(a.first) != asked.at(b.first); });
  });
}

}  // namespace

std::string key_of(const GraphRequest& request, bool dynamic) {
  std::string key = cat(request.function, ", ", dtype_name(request.dtype));
  for (const auto& [name, size] : request.sizes)
    if (dynamic ? granularity_of(request, name) == 0 : name != kTimesteps) key += cat(", ", name, ' ', size);
  return key;
}

Graph build_graph(const GraphRequest& request, bool dynamic, const Builder::WeightDtype& weight_dtype) {
  Sizes sizes = dynamic ? dynamic_sizes(request) : request.sizes;
  for (;;) {
    Graph graph = request.build(sizes, Builder(request.dtype, weight_dtype));
    verify(graph, GraphStage::model);
    if (sizes == request.sizes || !confuses_sizes(graph, request.sizes)) return graph;
    // Sides of inner levels follow from those that were made larger.
    for (auto& [name, size] : sizes)
      if (size != request.sizes.at(name)) size += granularity_of(request, name);
  }
}

}  // namespace vivace
