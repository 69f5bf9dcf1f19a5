// PlanShelf: the plans of a component, for all its requests.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/turns.h"
#include "runtime/plan.h"

namespace vivace {

// Whether `plan` is made for `sizes` as it is.
bool fits(const Plan& plan, const Sizes& sizes);

class PlanShelf {
 public:
  // Plans that may serve one another's calls. Whoever looks for one, resizes or compiles has the row's turn meanwhile: a plan is made once, and those
  // who wait for it can be stopped. Other rows are not held up.
  struct Row {
    Turns turns;
    std::vector<std::shared_ptr<const Plan>> plans;  // in the order they were made
    std::deque<std::shared_ptr<const Plan>> sized;   // resized to calls, the last used one first

    // The plan that is made for these sizes as it is; nullptr where there is none.
    std::shared_ptr<const Plan> find(const Sizes& sizes);
    // What resizing took a millisecond or two for is remembered for the last few sizes.
    void remember(std::shared_ptr<const Plan> plan);
  };
  using Rows = std::map<std::string, std::shared_ptr<Row>>;

  // Where plans are static each size has a row, and callers may ask for any number of sizes: beyond so many rows those that nobody has go, the one
  // not asked for longest first. A plan lives on with its sessions.
  static constexpr size_t kRows = 32;

  // While it is held none goes.
  using Keeping = std::unique_ptr<PlanShelf, void (*)(PlanShelf*)>;
  Keeping keep();

  // Whoever works on it has it.
  std::shared_ptr<Row> row(const std::string& key);
  // Not while a request is under way.
  void clear();
  // Every key with its plans. Not while a request is under way.
  const Rows& rows() const { return rows_; }

 private:
  void make_room();

  std::mutex mutex_;
  Rows rows_;
  std::deque<std::string> used_;  // their keys, the last used one first
  int keeping_ = 0;
};

}  // namespace vivace
