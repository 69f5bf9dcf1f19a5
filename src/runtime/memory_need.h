// What a session of a program takes, before there is one.
#pragma once

#include <cstddef>

#include "runtime/program.h"

namespace vivace {

struct MemoryNeed {
  int64_t weights = 0;      // as setup and step read them: prepared, or as the checkpoint stores them
  int64_t waiting = 0;      // beside these, in the host's memory (weight_stream.h)
  int64_t activations = 0;  // arenas and workspaces, and what waiting weights come through
  int64_t preparing = 0;    // the most that is held beside the weights while they are prepared: tensors of the checkpoint, what is made of them
  int64_t beside = 0;       // what is copied into a session before it runs, or out of it: what its states begin with, its outputs
};

// Of the kernels of setup and step, which run one at a time.
struct Workspaces {
  size_t device = 0, host = 0;  // host: of kernels that run there
};
Workspaces workspaces(const Program& program);

// Nothing is prepared yet.
MemoryNeed memory_need(const Program& program);

// What the output of that step of `prepare` takes.
size_t prepared_bytes(const Program& program, size_t prepare_step);
// By value: what weights and outputs of `prepare` take; 0 for others.
std::vector<size_t> constant_bytes(const Program& program);
// By value: whether setup, step or an output reads it and it is known before they run.
std::vector<uint8_t> values_to_keep(const Plan& plan);

}  // namespace vivace
