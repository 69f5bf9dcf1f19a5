// Plan: a compiled Graph. Immutable data: kernels by name, arguments, buffer offsets. Three programs: prepare, setup, step.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ir/graph.h"
#include "ops/infer.h"
#include "runtime/kernel_traits.h"
#include "runtime/memory.h"

namespace vivace {

struct PlanValue {
  enum class Where : uint8_t {
    arena,     // at `offset` of the session's arena
    constant,  // made by `prepare`, shared by sessions, known by `key`
    weight,    // the checkpoint's own bytes; only prepare reads it
  };
  TensorType type;
  Where where = Where::arena;
  Memory memory = Memory::device;  // of the arena, or of the constant
  Phase phase = Phase::step;
  int64_t offset = 0;     // bytes
  int64_t pitch = 0;      // elements between rows; 0: packed densely
  int32_t inside = -1;    // the value whose buffer this one lies in (a view, a slice, a result in place); -1: its own
  bool in_place = false;  // `inside` was chosen by plan_memory: the kernel writes over its first input
  int64_t shift = 0;      // bytes into that value
  std::string key;        // constants: what it is, as text; weights: the tensor's name
  bool operator==(const PlanValue&) const = default;
};

// What autotuning timed for a step.
struct PlanCandidate {
  std::string kernel, tuning;
  double seconds = 0;
  bool operator==(const PlanCandidate&) const = default;
};

struct PlanStep {
  std::string kernel;
  std::string tuning;  // the kernel's parameters (tuning.h); "" for its defaults
  uint8_t traits = 0;  // of the kernel (kernel_traits.h)
  Op op{};
  Attrs attrs;
  std::vector<int32_t> in;  // values, -1 for an absent input
  int32_t out = -1;
  std::string scope;
  int line = 0;
  bool copy = false;  // of in[0] to out, the same value in the other memory; without a kernel
  bool pack = false;  // prepare only: makes the packed form of in[0], with the scales in[1] if there are any, for the call of step `consumer` of
                      // `consumer_phase`
  int32_t consumer = -1;
  Phase consumer_phase = Phase::step;
  std::vector<std::pair<std::string, std::string>> refused;  // kernels before the chosen one, with their reasons
  std::vector<PlanCandidate> measured;                       // what autotuning timed, fastest first; the chosen one is among them
  bool operator==(const PlanStep&) const = default;
};

// A value without a kernel: a view or a strided slice of in[0], in the same memory.
struct PlanView {
  Op op{};
  Attrs attrs;
  std::vector<int32_t> in;
  int32_t out = -1;
  bool operator==(const PlanView&) const = default;
};

// One dimension of an input: a size with a name ("height"), or a constant of the model (""). Guard: the size is a multiple of `multiple_of`.
struct PlanDim {
  std::string name;
  int64_t multiple_of = 1;
  bool operator==(const PlanDim&) const = default;
};

struct PlanPort {
  std::string name;
  int32_t value;
  std::vector<PlanDim> dims;  // empty where none has a name
  std::string state;          // of an input: the output whose value it takes over after each step; "" for none
  bool operator==(const PlanPort&) const = default;
};

// Sizes that resize() may change. Several names: guard, they are equal (duck shapes).
struct PlanSymbol {
  std::vector<std::string> names;
  bool operator==(const PlanSymbol&) const = default;
};

// Sizes of a call, by the names of the inputs' dimensions.
using Sizes = std::map<std::string, int64_t>;

// What max-autotune did. Searches that an earlier compile made count with the seconds that they took then.
struct PlanAutotuning {
  int calls = 0, different_calls = 0, timed = 0;  // of kernels; those with a result among the different ones
  int settings = 0, settings_each_call = 0;       // kernels with parameters that the searches timed; those of a search for every call
  double seconds = 0, seconds_each_call = 0;      // likewise what the searches took
  bool operator==(const PlanAutotuning&) const = default;
};

// A kind of block that regional compilation compiled once.
struct PlanRegion {
  std::string scope;    // of the occurrence that was compiled
  int occurrences = 0;  // that took the result
  int nodes = 0;        // of one occurrence, before any pass
  double seconds = 0;   // of the passes
  bool operator==(const PlanRegion&) const = default;
};

struct Plan {
  std::vector<PlanValue> values;
  std::vector<PlanStep> prepare, setup, step;
  std::vector<PlanView> views;
  std::vector<PlanPort> inputs, outputs;
  std::vector<PlanSymbol> symbols;                           // a named size that is in none of them is a constant of this plan
  int64_t arena_bytes = 0;                                   // activations at their peak
  int64_t host_arena_bytes = 0;                              // those in the host's memory
  int64_t constant_bytes = 0;                                // weights, as packed
  std::string backend;                                       // the device's name
  std::vector<std::pair<std::string, double>> pass_seconds;  // what compiling took
  PlanAutotuning autotuning;
  std::vector<PlanRegion> regions;
  std::vector<std::string> graph_breaks;  // nodes that run outside compiled kernels, with the reason
  bool record = false;                    // sessions run the step as one launch (Stream::record)

  bool operator==(const Plan&) const = default;
  const std::vector<PlanStep>& program(Phase phase) const { return phase == Phase::prepare ? prepare : phase == Phase::setup ? setup : step; }
};

}  // namespace vivace
