#include "components/prepared_weights.h"

#include <map>
#include <mutex>
#include <utility>

namespace vivace {

std::shared_ptr<PreparedWeights> PreparedWeights::shared(const std::string& key, const std::function<std::shared_ptr<PreparedWeights>()>& make) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<PreparedWeights>> known;
  const std::lock_guard lock(mutex);
  std::erase_if(known, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<PreparedWeights>& entry = known[key];
  std::shared_ptr<PreparedWeights> found = entry.lock();
  if (!found) entry = found = make();
  return found;
}

PreparedWeights::User::User(std::shared_ptr<PreparedWeights> of, std::function<void()> drop) : of_(std::move(of)), drop_(std::move(drop)) {
  const std::lock_guard lock(of_->mutex_);
  of_->users_.push_back(this);
}

PreparedWeights::User::~User() {
  const std::lock_guard lock(of_->mutex_);
  of_->users_.remove(this);
}

void PreparedWeights::drop_idle() {
  const std::lock_guard lock(mutex_);
  for (const User* user : users_) user->drop_();
}

}  // namespace vivace
