// What a setting's pictures cost and how far they drift, and whether it is worth having: a gain counts only above the noise of the runs it was seen
// in.
#pragma once

#include <functional>

#include "tune/drift.h"

namespace vivace::cli {

struct Measured {
  double seconds = 0, base_seconds = 0;  // a picture's steps and decoding, with the setting and with what it was compared with: the fastest runs
  double noise = 0;                      // how much slower the slowest of equal runs was, as a share
  Drift drift;

  double gain() const { return 1 - seconds / base_seconds; }
  // The gain is more than equal runs differ by.
  bool counts() const;
};

// Runs the base and the setting in turns; `run` gives the seconds of one run. What is slower after two turns is not run a third time.
Measured measure_in_turns(const std::function<double(bool setting)>& run);

}  // namespace vivace::cli
