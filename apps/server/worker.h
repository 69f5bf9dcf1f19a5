// A thread for what would hold up the connections' own: requests that bring pictures, which are read one after the other.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace vivace::server {

class Worker {
 public:
  // What waits may have so many bytes, or be one alone.
  explicit Worker(size_t most_bytes) : most_bytes_(most_bytes), thread_([this] { run(); }) {}
  // After what is under way; what waits is dropped.
  ~Worker();
  Worker(const Worker&) = delete;

  // Work throws nothing. False where too much waits already.
  bool push(size_t bytes, std::function<void()> work, bool however_full = false);

 private:
  void run();

  const size_t most_bytes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<size_t, std::function<void()>>> waiting_;
  size_t bytes_ = 0;  // of what waits
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace vivace::server
