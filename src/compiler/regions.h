// Regional compilation: the blocks that a model repeats are compiled once a kind, and the result takes the place of every occurrence.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "runtime/plan.h"

namespace vivace {

// Blocks of one class: "BasicTransformerBlock".
struct RepeatedBlock {
  std::string class_name;
  std::vector<std::string> scopes;  // of the occurrences: "down_blocks.1.attentions.0.transformer_blocks.0"
  int kinds = 0;                    // how many of them differ in the shape of a weight
};
// Of graph.block_classes, those that occur more than once.
std::vector<RepeatedBlock> repeated_blocks(const Graph& graph);

// The graph with every occurrence of the classes replaced by what `passes` makes of one occurrence of its kind: two are of one kind when their
// graphs, without names, print the same. "auto" stands for the scopes that repeat, those first that save the most work. Throws UsageError for a class
// that the graph does not have. `found` receives what was compiled.
Graph compile_regions(Graph graph, const std::vector<std::string>& classes, const std::function<Graph(Graph)>& passes,
                      std::vector<PlanRegion>& found);

}  // namespace vivace
