// Graph after the last pass -> Plan: chooses kernels (first that accepts, in the backend's order), adds the packing of constants, plans memory.
#pragma once

#include "compiler/compile.h"

namespace vivace {

Plan lower(const Graph& graph, Device& device, const CompileOptions& options, TuningStore& tuning, Request& request);

}  // namespace vivace
