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

  // Stays where it is until clear().
  Row& row(const std::string& key);
  // Not while a request is under way.
  void clear() { rows_.clear(); }
  // Every key with its plans. Not while a request is under way.
  const std::map<std::string, Row>& rows() const { return rows_; }

 private:
  std::mutex mutex_;
  std::map<std::string, Row> rows_;
};

}  // namespace vivace
