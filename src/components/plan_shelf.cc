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

PlanShelf::Keeping PlanShelf::keep() {
  const std::lock_guard lock(mutex_);
  ++keeping_;
  return {this, [](PlanShelf* shelf) {
            const std::lock_guard lock(shelf->mutex_);
            --shelf->keeping_;
          }};
}

std::shared_ptr<PlanShelf::Row> PlanShelf::row(const std::string& key) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Row>& row = rows_[key];
  if (row)
    std::erase(used_, key);
  else
    row = std::make_shared<Row>();
  used_.push_front(key);
  auto found = row;
  make_room();
  return found;
}

void PlanShelf::make_room() {
  for (size_t i = used_.size(); keeping_ == 0 && rows_.size() > kRows && i-- > 0;) {
    const auto oldest = rows_.find(used_[i]);
    if (oldest->second.use_count() > 1) continue;
    rows_.erase(oldest);
    used_.erase(used_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void PlanShelf::clear() {
  rows_.clear();
  used_.clear();
}

}  // namespace vivace
