// Runs contestants in turn, each turn in a process of its own, and gathers what they found.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/report.h"
#include "bench/rungs.h"

namespace vivace::cli {

struct Measurement {
  std::vector<Contestant> contestants;  // the first is the reference
  std::vector<std::string> arguments;   // of every contestant: model, size, steps, threads
  std::vector<std::string> prompts;
  uint64_t seed = 0;
  int runs = 1;
  std::function<void(int done, int turns, double seconds)> on_turn;
  std::function<void(const std::string& line)> on_warning;  // of a contestant; each once
};

// Round after round every contestant has its turn, each round beginning one further, so that a slow minute of the machine hits all of them. A
// contestant that fails has its message as its figures; when the first one fails, its UserError is thrown. Fills machine, settings (but the
// model) and rungs.
Report measure(const Measurement& measurement);

}  // namespace vivace::cli
