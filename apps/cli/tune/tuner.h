// The search of `vivace tune`: a dtype, then what gains most for its drift, as much as the bound allows.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tune/candidates.h"
#include "tune/drift.h"
#include "tune/profile_file.h"

namespace vivace::cli {

// What the search asks of the world.
struct TunerWorld {
  // A setting against another, in turns.
  std::function<Measured(const PretrainedOptions& base, const PretrainedOptions& setting)> measure;
  // What there is to switch on beyond this setting.
  std::function<std::vector<Candidate>(const PretrainedOptions& base)> candidates;
  // Nothing new is to be measured.
  std::function<bool()> time_is_up;
  // For the person who waits.
  std::function<void(const std::string& line)> say;
};

struct TuneResult {
  std::vector<std::string> chosen;  // empty: the plain setting, compiled in its dtype
  Measured measured;                // against the plain setting; for that one, against plain float32
};

// The profile holds the best so far at any time. What it knows is not measured again.
TuneResult tune(const TunerWorld& world, ProfileFile& file, const DriftBound& bound);

}  // namespace vivace::cli
