#include <gtest/gtest.h>
#include <sched.h>

#include <thread>
#include <vector>

#include "base/parallel.h"
#include "vivace/threads.h"

namespace vivace {
namespace {

TEST(PinThreads, EachThreadHasOneAllowedCore) {
  cpu_set_t allowed;
  ASSERT_EQ(::sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  // In a thread of its own, which takes its binding with it; its pool of threads too.
  std::thread([&] {
    set_num_threads(3);
    pin_threads();
    std::vector<cpu_set_t> own(3);
    std::vector<int> got(3, -1);
    parallel_threads(
        [&](int thread, int) { got[static_cast<size_t>(thread)] = ::sched_getaffinity(0, sizeof(cpu_set_t), &own[static_cast<size_t>(thread)]); });
    for (size_t i = 0; i < own.size(); ++i) {
      ASSERT_EQ(got[i], 0);
      EXPECT_EQ(CPU_COUNT(&own[i]), 1);
      cpu_set_t both;
      CPU_AND(&both, &own[i], &allowed);
      EXPECT_EQ(CPU_COUNT(&both), 1);
    }
    if (CPU_COUNT(&allowed) > 1) {
      EXPECT_FALSE(CPU_EQUAL(&own[0], &own[1]));
    }
    set_num_threads(0);
  }).join();
}

}  // namespace
}  // namespace vivace
