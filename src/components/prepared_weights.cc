#include "components/prepared_weights.h"

#include <map>
#include <mutex>

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

}  // namespace vivace
