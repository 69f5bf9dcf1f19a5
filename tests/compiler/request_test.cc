// What one request changes: where a stop takes effect, and what it counts.
#include "runtime/request.h"

#include <gtest/gtest.h>

#include <thread>

#include "../with_kernels.h"
#include "base/parallel.h"
#include "compiler/compile.h"
#include "runtime/session.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// A device whose one kernel counts its runs, and asks for a stop at one of them.
int g_runs = 0, g_stop_at = 0;
std::stop_source g_stop;

std::unique_ptr<BoundKernel> bind(const KernelCall&, const Buffers&) {
  return bound([] {
    if (++g_runs == g_stop_at) g_stop.request_stop();
  });
}
const KernelEntry kKernel{
    .name = "stopping", .op = Op::silu, .ask = [](const KernelCall& call, const Target&) -> Answer { return call_offer(call, bind); }};
const auto g_device = std::make_shared<WithKernels>(std::vector{kKernel});

// Three kernels a step, the first of a weight that is prepared by two more.
const char* const kGraph = R"(%0 = weight(name="w") : float32[2, 6]
%1 = silu(%0) : float32[2, 6]
%2 = silu(%1) : float32[2, 6]
%3 = input(name="x") : float32[2, 6]
%4 = silu(%3) : float32[2, 6]
%5 = silu(%4) : float32[2, 6]
%6 = silu(%5) : float32[2, 6]
return y=%6, prepared=%2
)";

class Requests : public testing::Test {
 protected:
  void SetUp() override {
    g_runs = g_stop_at = 0;
    g_stop = {};
  }
  static Plan plan() { return compile(parse_graph(kGraph), *g_device, {}); }

  const std::vector<float> weight_ = std::vector<float>(12);
  const WeightSource weights_{.find =
                                  [this](const std::string&) {
                                    return WeightBytes{DType::float32, weight_.data()};
                                  },
                              .release = [](const std::string&) {}};
  ConstantStore store_{g_device};
};

TEST_F(Requests, AStopTakesEffectBeforeTheNextKernel) {
  Request request(g_stop.get_token());
  Session session(std::make_shared<const Plan>(plan()), *g_device, store_, weights_, request);
  const int prepared = g_runs;
  g_stop_at = prepared + 2;
  EXPECT_THROW(session.run(Phase::step, request), Interrupted);
  EXPECT_EQ(g_runs, prepared + 2) << "the third kernel ran";
  EXPECT_THROW(session.run(Phase::step, request), Interrupted);
  EXPECT_EQ(g_runs, prepared + 2);
  Request next;
  session.run(Phase::step, next);
  EXPECT_EQ(g_runs, prepared + 5) << "another request goes on with the session";
}

TEST_F(Requests, AStopTakesEffectWhilePreparing) {
  const auto made = std::make_shared<const Plan>(plan());
  ASSERT_EQ(made->prepare.size(), 2u);
  g_stop_at = 1;
  Request request(g_stop.get_token());
  EXPECT_THROW(Session(made, *g_device, store_, weights_, request), Interrupted);
  EXPECT_EQ(g_runs, 1);
  Request next;
  Session(made, *g_device, store_, weights_, next);
  EXPECT_EQ(g_runs, 3) << "what was left half prepared is made anew";
  EXPECT_EQ(next.counters.constants_prepared, 2);
}

// A kernel that ends early leaves its result unfinished: whoever comes next must not find it.
TEST_F(Requests, WhatWasBeingPreparedAtAStopIsNotKept) {
  const auto made = std::make_shared<const Plan>(plan());
  g_stop_at = 2;
  Request request(g_stop.get_token());
  EXPECT_THROW(Session(made, *g_device, store_, weights_, request), Interrupted);
  EXPECT_EQ(g_runs, 2);
  Request next;
  Session(made, *g_device, store_, weights_, next);
  EXPECT_EQ(next.counters.constants_prepared, 2);
}

TEST_F(Requests, AStoppedCompileEnds) {
  g_stop.request_stop();
  Request request(g_stop.get_token());
  EXPECT_THROW(compile(parse_graph(kGraph), *g_device, {}, nullptr, &request), Interrupted);
}

// What a kernel that shares scratch memory out by threads would see.
std::vector<int> g_threads;

std::unique_ptr<BoundKernel> threads_bind(const KernelCall&, const Buffers&) {
  g_threads.push_back(num_threads());
  return bound([] {
    g_threads.push_back(num_threads());
    parallel_threads([](int thread, int threads) {
      if (thread == 0) g_threads.push_back(threads);
    });
  });
}
Answer ask_threads(const KernelCall& call, const Target&) {
  g_threads.push_back(num_threads());
  return call_offer(call, threads_bind, 64);
}
const KernelEntry kThreads{.name = "threads", .op = Op::silu, .ask = ask_threads};
const auto g_threads_device = std::make_shared<WithKernels>(std::vector{kThreads});

TEST_F(Requests, KernelsRunOnTheThreadsTheyWereBoundFor) {
  set_num_threads(2);
  g_threads.clear();
  Request request;
  Session session(std::make_shared<const Plan>(compile(
                      parse_graph("%0 = input(name=\"x\") : float32[2, 6]\n%1 = silu(%0) : float32[2, 6]\nreturn y=%1\n"), *g_threads_device, {})),
                  *g_threads_device, store_, weights_, request);
  for (int later : {5, 1}) {
    set_num_threads(later);
    session.run(Phase::step, request);
  }
  EXPECT_GE(g_threads.size(), 7u) << "asked while compiling and for the session, bound, run twice";
  EXPECT_EQ(std::ranges::count(g_threads, 2), std::ssize(g_threads));
  set_num_threads(0);
}

TEST(RequestCounters, EndWithTheRequestInTheProcessCounters) {
  const RequestCounters before = process_counters();
  constexpr int kThreads = 4, kRequests = 1000;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([] {
        for (int i = 0; i < kRequests; ++i) {
          Request request;
          request.counters.host_device_syncs += 2;
          request.counters.settings_timed += 3;
        }
      });
  }
  const RequestCounters after = process_counters();
  EXPECT_EQ(after.host_device_syncs - before.host_device_syncs, 2 * kThreads * kRequests);
  EXPECT_EQ(after.settings_timed - before.settings_timed, 3 * kThreads * kRequests);
  EXPECT_EQ(after.allocations, before.allocations);
  Request running;
  running.counters.allocations = 7;
  EXPECT_EQ(process_counters().allocations, before.allocations) << "of requests that have ended";
}

}  // namespace
}  // namespace vivace
