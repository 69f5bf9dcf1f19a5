#include "base/turns.h"

#include "vivace/error.h"

namespace vivace {

bool Turns::take(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  const void* const self = &lock;
  queue_.push_back(self);
  if (changed_.wait(lock, stop, [&] { return queue_.front() == self; })) return true;
  std::erase(queue_, self);
  lock.unlock();
  changed_.notify_all();
  return false;
}

void Turns::end() noexcept {
  {
    const std::lock_guard lock(mutex_);
    queue_.pop_front();
  }
  changed_.notify_all();
}

Turn::Turn(Turns& turns, const std::stop_token& stop) : turns_(turns) {
  if (!turns_.take(stop)) throw Interrupted("stopped");
}

}  // namespace vivace
