// Graph -> Plan: the pass list, kernel selection, memory. See pipeline.cc for the list.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "runtime/device.h"
#include "runtime/plan.h"
#include "vivace/compile.h"

namespace vivace {

class TuningStore;  // tuning_store.h
struct Request;     // runtime/request.h

// Throws UserError when fullgraph is asked for and an op has no kernel, InternalError on a bug.
// `tuning`: what max-autotune knows and adds to; without one it begins with nothing. `request`: for whom it is compiled; Interrupted once that stops.
Plan compile(Graph graph, Device& device, const CompileOptions& options, TuningStore* tuning = nullptr, Request* request = nullptr);

// Every field of the options as text: equal texts compile a graph to the same plan.
std::string options_text(const CompileOptions& options);

// One row of the pass list, for `explain` and for switching passes off.
struct PassInfo {
  std::string_view name;
  std::string_view what;
  bool optional;  // runs only when compiling, and can be switched off by name
};
const std::vector<PassInfo>& pass_list();
// Whether the pass of that name runs on a whole graph.
bool runs_pass(std::string_view name, const CompileOptions& options);

// What the passes did.
struct PassReport {
  std::vector<std::pair<std::string, double>> seconds;  // by pass
  std::vector<PlanRegion> regions;
};

// The passes alone, in order, each verified; `dump` (optional) receives the graph's text after each. With
// options.regions, the optional passes run on the regions alone.
Graph run_passes(Graph graph, const CompileOptions& options, const Target& target, PassReport* report = nullptr,
                 const std::function<void(std::string_view pass, const Graph&)>& dump = nullptr);

}  // namespace vivace
