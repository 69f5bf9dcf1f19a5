// Tasks that nobody waits for.
#include "backends/cuda/workers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <latch>
#include <thread>
#include <vector>

namespace vivace::cuda {
namespace {

TEST(CudaWorkers, WorkOnSeveralTasksAtOnce) {
  std::latch met(3);
  Workers workers(3);
  for (int i = 0; i < 3; ++i) workers.add([&] { met.arrive_and_wait(); });  // which none passes alone
  met.wait();
}

TEST(CudaWorkers, AreNoMoreThanThatAndEndBehindTheLastTask) {
  std::atomic<int> now = 0, most = 0, done = 0;
  {
    Workers workers(2);
    for (int i = 0; i < 20; ++i)
      workers.add([&] {
        int seen = most;
        for (const int here = ++now; here > seen && !most.compare_exchange_weak(seen, here);) {
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        --now;
        ++done;
      });
  }
  EXPECT_EQ(done, 20);
  EXPECT_LE(most, 2);
}

TEST(CudaWorkers, BeginInTheOrderOfAdding) {
  std::vector<int> order;
  {
    Workers workers(1);
    for (int i = 0; i < 20; ++i) workers.add([&, i] { order.push_back(i); });
  }
  ASSERT_EQ(order.size(), 20u);
  EXPECT_TRUE(std::ranges::is_sorted(order));
}

}  // namespace
}  // namespace vivace::cuda
