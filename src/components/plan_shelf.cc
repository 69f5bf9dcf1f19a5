#include "components/plan_shelf.h"

#include <algorithm>

#include "runtime/resize.h"

namespace vivace {
namespace {

constexpr size_t kSizes = 8;

}  // namespace

bool fits(const Plan& plan, const Sizes& sizes) {
  for (const auto& [name, size] : sizes_of(plan))
    if (const auto wanted = sizes.find(name); wanted != sizes.end() && wanted->second != size) return false;
  return true;
}

std::shared_ptr<const Plan> PlanShelf::Row::find(const Sizes& sizes) {
  for (auto plan = sized.begin(); plan != sized.end(); ++plan)
    if (fits(**plan, sizes)) {
      std::rotate(sized.begin(), plan, plan + 1);
      return sized.front();
    }
  for (const auto& plan : plans)
    if (fits(*plan, sizes)) return plan;
  return nullptr;
}

void PlanShelf::Row::remember(std::shared_ptr<const Plan> plan) {
  sized.push_front(std::move(plan));
  if (sized.size() > kSizes) sized.pop_back();
}

PlanShelf::Row& PlanShelf::row(const std::string& key) {
  const std::lock_guard lock(mutex_);
  return rows_[key];
}

}  // namespace vivace
