// What autotuning has found, kept for the next compile.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/cache_folder.h"
#include "runtime/plan.h"

namespace vivace {

// The result of one search.
struct TuningResult {
  std::vector<PlanCandidate> measured;  // the winner first, then the others, fastest first; empty: nothing was timed
  double seconds = 0;                   // what the search took
  int settings = 0;                     // kernels with parameters that it timed
};

// By a text that says which call was searched for and how (autotune.h). In memory, and in the cache folder, as entries of kind "tuning", where one is
// given: several processes share it, and what is damaged there is searched again. Any thread may use it.
class TuningStore {
 public:
  explicit TuningStore(CacheFolder folder = {}) : folder_(std::move(folder)) {}
  std::optional<TuningResult> find(const std::string& key);
  void put(const std::string& key, const TuningResult& result);

 private:
  CacheFolder folder_;
  std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();  // of what follows
  std::map<std::string, TuningResult> results_;
};

// "seconds settings\n" and a line "seconds kernel tuning" a candidate. parse gives nothing for a text that is damaged.
std::string print_tuning_result(const TuningResult& result);
std::optional<TuningResult> parse_tuning_result(const std::string& text);

}  // namespace vivace
