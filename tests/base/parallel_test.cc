// The pool of threads: how many there are.
#include "base/parallel.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/pool.h"
#include "vivace/error.h"

namespace vivace {
namespace {

TEST(Parallel, FixedThreadsStay) {
  set_num_threads(1);
  {
    const FixedThreads fixed(3);
    set_num_threads(2);
    EXPECT_EQ(num_threads(), 3);
    std::atomic<int> seen{0};
    parallel_threads([&](int, int threads) { seen = threads; });
    EXPECT_EQ(seen, 3);
    std::jthread([] { EXPECT_EQ(num_threads(), 2) << "on this thread alone"; });
  }
  EXPECT_EQ(num_threads(), 2);
  set_num_threads(0);
}

// Under a limit of two threads a process that wants eight runs on two.
void run_on_few_threads() {
  const rlimit limit{2, 2};
  if (::geteuid() == 0 && ::setuid(61234) != 0) std::_Exit(3);  // root has no such limit
  if (::setrlimit(RLIMIT_NPROC, &limit) != 0) std::_Exit(4);
  set_num_threads(8);
  std::atomic<int> ran{0};
  parallel_threads([&](int, int) { ++ran; });
  std::_Exit(num_threads() <= 2 && ran == num_threads() ? 0 : 5);
}

TEST(ParallelDeathTest, AsManyThreadsAsCanBeStarted) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(run_on_few_threads(), testing::ExitedWithCode(0), "of 8 threads can be started");
}

}  // namespace
}  // namespace vivace
