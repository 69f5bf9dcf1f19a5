// The pool of sessions: what it keeps, who waits, and who does not.
#include "runtime/session_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>

#include "toy.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr size_t kRow = size_t{1} << 16;  // bytes that a row of the activations takes, below

class SessionPools : public testing::Test {
 protected:
  std::shared_ptr<const Plan> plan(int64_t rows) const { return toy_plan(*device_, rows, kRow / sizeof(float)); }
  SessionLease lease(SessionPool& pool, const std::shared_ptr<const Plan>& plan, Request& request) {
    return pool.lease(plan, request, [&] {
      ++made_;
      return std::make_unique<Session>(plan, *device_, store_, weights_, request);
    });
  }

  const std::shared_ptr<Device> device_ = std::make_shared<ToyDevice>();
  const std::vector<float> weight_ = std::vector<float>(30 * kRow / sizeof(float));
  const WeightSource weights_{.find =
                                  [this](const std::string&) {
                                    return WeightBytes{DType::float32, weight_.data()};
                                  },
                              .release = [](const std::string&) {}};
  ConstantStore store_{device_};
  int made_ = 0;
};

TEST_F(SessionPools, ASessionIsUsedAgain) {
  SessionPool pool;
  Request request;
  const auto small = plan(1), large = plan(2);
  const Session* first = &*lease(pool, small, request);
  lease(pool, large, request);
  EXPECT_EQ(&*lease(pool, small, request), first);
  EXPECT_EQ(made_, 2);
  pool.clear();
  EXPECT_EQ(pool.bytes(), 0u);
}

// What a pool holds while sessions are leased one after another, each for some work.
TEST_F(SessionPools, HoldWhatIsPlannedOfSessionsOneAfterAnother) {
  constexpr size_t kIdle = 20 * kRow;
  for (const auto& rows : std::vector<std::vector<int64_t>>{{3, 2}, {9, 30, 1}, {30, 1, 2}, {6, 5, 7, 4}}) {
    SessionPool pool({.idle_bytes = kIdle});
    Request request;
    std::vector<MemoryNeed> needs;
    size_t most = 0;
    for (const int64_t n : rows) {
      const auto one = plan(n);
      needs.push_back(memory_need(Program(one, *device_)));
      const SessionLease session = lease(pool, one, request);
      most = std::max(most, pool.bytes());
    }
    const auto planned = static_cast<size_t>(one_after_another(needs, pool.limits()).activations);
    EXPECT_LE(most, planned) << rows.size();
    EXPECT_GE(most, planned * 2 / 3) << rows.size();
  }
}

TEST_F(SessionPools, MemoryOfThirtySizesIsBounded) {
  constexpr size_t kIdle = 20 * kRow;
  SessionPool pool({.idle_bytes = kIdle});
  Request request;
  std::vector<std::shared_ptr<const Plan>> plans;
  size_t all = 0;
  for (int64_t rows = 1; rows <= 30; ++rows) {
    plans.push_back(plan(rows));
    const auto own = static_cast<size_t>(plans.back()->arena_bytes);
    all += own;
    lease(pool, plans.back(), request);
    EXPECT_LE(pool.bytes(), std::max(kIdle, own)) << "the last one stays whatever it takes";
    EXPECT_GE(pool.bytes(), own);
  }
  EXPECT_GT(all, 10 * kIdle) << "or nothing was shown";
  EXPECT_EQ(made_, 30);
  lease(pool, plans.back(), request);
  EXPECT_EQ(made_, 30) << "the last used one is kept";
  lease(pool, plans[0], request);
  EXPECT_EQ(made_, 31) << "the least recently used one is not";
  EXPECT_LE(pool.bytes(), kIdle) << "and the largest has gone for a small one";
}

TEST_F(SessionPools, RequestsWaitForMemoryInTheOrderOfAsking) {
  const auto one = plan(1);
  const auto bytes = static_cast<size_t>(one->arena_bytes);
  SessionPool pool({.lent_bytes = 2 * bytes});
  std::vector<int> order;
  {
    Request request;
    const SessionLease first = lease(pool, one, request);
    std::optional<SessionLease> second(lease(pool, one, request));
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        Request own;
        const SessionLease session = pool.lease(one, own, [&] { return std::make_unique<Session>(one, *device_, store_, weights_, own); });
        order.push_back(i);  // one at a time: there is room for one beside the first
      });
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // for the queue
    }
    EXPECT_TRUE(order.empty());
    EXPECT_EQ(pool.bytes(), 2 * bytes);
    second.reset();
    threads.clear();
  }
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3}));
}

TEST_F(SessionPools, WaitingCanBeStopped) {
  const auto one = plan(1);
  SessionPool pool({.lent_bytes = 1});
  Request request;
  const SessionLease only = lease(pool, one, request);  // more than is allowed, and nobody waits where none is lent
  std::stop_source stop;
  std::atomic<bool> stopped{false};
  {
    const std::jthread waiting([&] {
      Request own(stop.get_token());
      try {
        lease(pool, one, own);
      } catch (const Interrupted&) {
        stopped = true;
      }
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(stopped);
    stop.request_stop();
  }
  EXPECT_TRUE(stopped);
}

TEST_F(SessionPools, WhatCannotBeMadeTakesNothing) {
  const auto one = plan(1);
  SessionPool pool({.lent_bytes = 1});
  Request request;
  EXPECT_THROW(pool.lease(one, request, []() -> std::unique_ptr<Session> { throw UserError("no memory"); }), UserError);
  EXPECT_EQ(pool.bytes(), 0u);
  lease(pool, one, request);
}

}  // namespace
}  // namespace vivace
