#include "backends/cuda/workers.h"

#include <system_error>
#include <utility>

namespace vivace::cuda {

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Workers::add(Task task) {
  Task here;
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    try {
      if (idle_ < tasks_.size() && threads_.size() < most_) threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      if (!threads_.empty()) return;  // to those that there are
      here = std::move(tasks_.back());
      tasks_.pop_back();
    }
  }
  changed_.notify_one();
  if (here) here();
}

void Workers::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    changed_.wait(lock, [&] { return ends_ || !tasks_.empty(); });
    --idle_;
    if (tasks_.empty()) return;
    const Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    lock.lock();
  }
}

}  // namespace vivace::cuda
