// max-autotune's search: for every call of a plan the fastest kernel and the fastest setting of its parameters, by timing them (measure.h).
#pragma once

#include <span>
#include <vector>

#include "compiler/tuning_store.h"
#include "runtime/device.h"
#include "runtime/request.h"
#include "vivace/compile.h"

namespace vivace {

struct TuningRequest {
  KernelCall call;                             // its attributes must outlive the search
  std::vector<const KernelEntry*> candidates;  // that accept the call, in the backend's order
  int occurrences = 1;                         // of equal calls in the plan
};

// One result a request. What the store knows is taken from there. The rest is searched, the largest share of a run's arithmetic first, within
// options.autotune_seconds in all; what that leaves out has no candidates in its result and is not stored, so that the next compile goes on there.
//   The list: every kernel with its default and with each of its variants; those near the best again, in turn, so that a neighbour's noise meets all.
//   With coordinate_descent_tuning, from the best of these to better neighbours, one parameter at a time, until there is none;
//   with coordinate_descent_check_all_directions then all combinations of neighbours, and on from there.
// Another choice than the list's first must be faster by more than noise. Throws Interrupted when `request` stops; what was found by then stays
// stored.
std::vector<TuningResult> autotune(std::span<const TuningRequest> requests, const CompileOptions& options, TuningStore& store, Device& device,
                                   Request& request);

// Equal texts: calls that are equal for every kernel.
std::string call_text(const KernelCall& call);

// Operation, attributes, operands, candidates, kind of search, machine, threads and build: equal texts, equal results.
std::string tuning_key(const TuningRequest& request, const CompilerFlags& flags, std::string_view machine);

}  // namespace vivace
