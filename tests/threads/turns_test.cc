// Whose turn it is.
#include "base/turns.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "vivace/error.h"

namespace vivace {
namespace {

TEST(Turns, OneAtATimeInTheOrderOfAsking) {
  Turns turns;
  std::vector<int> order;
  std::atomic<int> inside{0};
  std::vector<std::jthread> threads;
  ASSERT_TRUE(turns.take());
  for (int i = 0; i < 6; ++i) {
    std::atomic<bool> asking{false};
    threads.emplace_back([&, i] {
      asking = true;
      const Turn turn(turns);
      EXPECT_EQ(++inside, 1);
      order.push_back(i);
      --inside;
    });
    while (!asking) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // for the queue
  }
  turns.end();
  threads.clear();
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4, 5}));
}

TEST(Turns, WhoStopsLeavesTheQueue) {
  Turns turns;
  ASSERT_TRUE(turns.take());
  std::stop_source stop;
  bool stopped = false;
  {
    const std::jthread waiting([&] {
      try {
        const Turn turn(turns, stop.get_token());
      } catch (const Interrupted&) {
        stopped = true;
      }
    });
    stop.request_stop();
  }
  EXPECT_TRUE(stopped);
  turns.end();
  EXPECT_TRUE(turns.take()) << "the queue is not stuck";
  turns.end();
}

}  // namespace
}  // namespace vivace
