// Concats without copies: which inputs of a concat marked `join` (passes/join_concats.cc) their producers can write straight into its buffer.
#pragma once

#include <vector>

#include "ir/graph.h"
#include "runtime/kernel.h"
#include "runtime/plan.h"

namespace vivace {

struct PlacedPart {
  NodeId concat = kNone, part = kNone;  // `part` is the value a kernel writes; the concat's input may be a view of it
  std::vector<NodeId> values;           // `part` and the views of it: all of them lie in the concat's buffer
  int64_t pitch = 0;                    // elements between their rows; 0: dense
  int64_t shift = 0;                    // bytes from the beginning of the buffer
};

// What placing needs to know of a node.
struct PlacedNode {
  const KernelEntry* entry = nullptr;  // nullptr: no kernel runs
  bool free_view = false;              // the same memory as its input
  bool slice_in_place = false;         // some columns or rows of its input
};

// Those of them with which no more bytes are live at any time than at the peak of `plain`, the graph's plan without them: a joined buffer lives from
// its first part on, which saves a copy and can cost memory.
std::vector<PlacedPart> place_parts(const Graph& graph, const std::vector<PlacedNode>& nodes, const Plan& plain);

}  // namespace vivace
