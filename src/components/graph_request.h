// GraphRequest: a way to call a component, and the graph that stands for it.
#pragma once

#include <functional>
#include <string>

#include "ops/builder.h"
#include "runtime/plan.h"

namespace vivace {

// Which graph, and with what sizes.
struct GraphRequest {
  std::string function;  // "decode"; with dtype and sizes it stands for one graph
  DType dtype = DType::float32;
  Sizes sizes;  // by the names of the inputs' dimensions
  // Sizes of which the graph halves or doubles: a dynamic graph is built for at least twice as much, so that no inner size is 1, and on the same side
  // of divisibility as the call. 1 where a name is missing. 0: a dynamic graph too is made for this size alone ("=batch" of compiler/symbols.h,
  // or one that no input has: a video's frames).
  Sizes granularity;
  std::function<Graph(const Sizes&, Builder)> build;
};

// Equal where plans may serve one another's calls.
std::string key_of(const GraphRequest& request, bool dynamic);

// A dynamic graph is built for sizes of its own, in which what differs in the call differs, or it would share a symbol, and which are never 1, which
// shapes could take for a broadcast.
Graph build_graph(const GraphRequest& request, bool dynamic, const Builder::WeightDtype& weight_dtype);

}  // namespace vivace
