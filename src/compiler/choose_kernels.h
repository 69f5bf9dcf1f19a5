// Which kernel runs each node of a graph.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "compiler/tuning_store.h"
#include "ir/graph.h"
#include "runtime/device.h"
#include "runtime/kernel.h"
#include "runtime/plan.h"
#include "runtime/request.h"
#include "vivace/compile.h"

namespace vivace {

struct KernelChoice {
  const KernelEntry* entry = nullptr;  // nullptr: nothing runs
  std::shared_ptr<const Offer> offer;  // of the entry, without strides
  std::string tuning;
  std::vector<std::pair<std::string, std::string>> refused;
  std::vector<PlanCandidate> measured;
};

// By node: the first entry of the device's list that takes the call, with the reasons of those before it; with max-autotune, for the steps of the
// loop, what runs fastest, and `autotuning` says what finding it took. Throws UserError where no attention backend that was asked for takes the
// call, InternalError where no kernel does, Interrupted when `request` stops.
std::vector<KernelChoice> choose_kernels(const Graph& graph, Device& device, const CompileOptions& options, TuningStore& tuning, Request& request,
                                         PlanAutotuning& autotuning);

KernelCall call_of(const Graph& graph, const Node& node);

// Views of a value in the arena need no kernel: they are the same memory.
bool is_free_view(const Graph& graph, const Node& node);

// Outside of what regional compilation compiles.
bool is_left_eager(const Node& node, const CompileOptions& options);

}  // namespace vivace
