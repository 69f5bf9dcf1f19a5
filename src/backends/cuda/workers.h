// Threads for what takes a while and nobody waits for yet: several at once, begun in the order in which they were given.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace vivace::cuda {

class Workers {
 public:
  using Task = std::function<void()>;

  explicit Workers(size_t most) : most_(most) {}
  ~Workers();  // behind the last task
  Workers(const Workers&) = delete;

  // Does it here where there is no thread to be had. A task must not throw.
  void add(Task task);

 private:
  void work();

  const size_t most_;
  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::deque<Task> tasks_;
  size_t idle_ = 0;
  bool ends_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace vivace::cuda
