// Who may use the pool of threads (parallel.h), and how much of it.
#pragma once

#include "base/turns.h"

namespace vivace {

// OpenMP gives each thread that calls it a team of its own. Kernels run in turns, so that one team at a time has work and no core has two threads.
Turns& pool_turns();

// While it lives, num_threads() is `threads` on this thread, whatever set_num_threads() says meanwhile: kernels size their scratch memory by it when
// they are bound and share it out by it when they run.
class FixedThreads {
 public:
  explicit FixedThreads(int threads);
  ~FixedThreads();
  FixedThreads(const FixedThreads&) = delete;
  FixedThreads& operator=(const FixedThreads&) = delete;

 private:
  int before_, openmp_before_;  // OpenMP's own number is what oneDNN goes by
};

}  // namespace vivace
