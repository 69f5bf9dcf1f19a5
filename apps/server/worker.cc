#include "worker.h"

namespace vivace::server {

Worker::~Worker() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

bool Worker::push(size_t bytes, std::function<void()> work, bool however_full) {
  const std::lock_guard lock(mutex_);
  if (!waiting_.empty() && bytes_ + bytes > most_bytes_ && !however_full) return false;
  waiting_.emplace_back(bytes, std::move(work));
  bytes_ += bytes;
  changed_.notify_one();
  return true;
}

void Worker::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    if (ending_) return;
    auto [bytes, work] = std::move(waiting_.front());
    waiting_.pop_front();
    bytes_ -= bytes;
    lock.unlock();
    work();
    work = nullptr;  // what it holds goes before the next
    lock.lock();
  }
}

}  // namespace vivace::server
