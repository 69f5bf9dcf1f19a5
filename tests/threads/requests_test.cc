// Requests of several threads on one model: sessions from a pool, constants of a store, one pool of threads for all of them.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/turns.h"
#include "runtime/request.h"
#include "runtime/session_pool.h"
#include "toy.h"
#include "vivace/error.h"

namespace vivace {
namespace {

constexpr int64_t kRows = 3, kColumns = 1000, kCount = kRows * kColumns;

// What a component has for its requests.
class Requests : public testing::Test {
 protected:
  SessionLease lease(Request& request) {
    return pool_.lease(plan_, request, [&] {
      const Turn turn(turns_, request.stop);
      return std::make_unique<Session>(plan_, *device_, store_, weights_, request);
    });
  }

  // y of x = `value` everywhere.
  std::vector<float> ask(float value, Request& request) {
    const SessionLease session = lease(request);
    Tensor x({kRows, kColumns}, DType::float32);
    std::fill_n(static_cast<float*>(x.data()), kCount, value);
    session->write("x", x);
    session->run(Phase::step, request);
    const Tensor y = session->read("y", request);
    return {static_cast<const float*>(y.data()), static_cast<const float*>(y.data()) + kCount};
  }

  std::vector<float> weight_ = std::vector<float>(kCount, 5.F);
  const WeightSource weights_{.find =
                                  [this](const std::string&) {
                                    return WeightBytes{DType::float32, weight_.data()};
                                  },
                              .release = [](const std::string&) {}};
  const std::shared_ptr<Device> device_ = std::make_shared<ToyDevice>();
  const std::shared_ptr<const Plan> plan_ = toy_plan(*device_, kRows, kColumns);
  ConstantStore store_{device_};
  Turns turns_;
  // Room for two of four threads' sessions, and for one that nobody has.
  SessionPool pool_{{.idle_bytes = static_cast<size_t>(plan_->arena_bytes), .lent_bytes = 2 * static_cast<size_t>(plan_->arena_bytes)}};
};

TEST_F(Requests, OfManyThreadsGetWhatTheyWouldGetAlone) {
  const int64_t prepared = process_counters().constants_prepared;
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread)
      threads.emplace_back([&, thread] {
        for (int i = 0; i < 25; ++i) {
          Request request;
          const auto value = static_cast<float>(100 * thread + i);
          wrong += ask(value, request) != std::vector<float>(kCount, (value + 10) * value);
        }
      });
    for (int i = 0; i < 5; ++i) pool_.clear();
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(process_counters().constants_prepared, prepared + 1) << "all share what one has prepared";
}

TEST_F(Requests, OneStopsAndTheOthersGoOn) {
  std::stop_source stop;
  std::atomic<int> asked{0}, interrupted{0}, wrong{0};
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 3; ++thread)
      threads.emplace_back([&, thread] {
        try {
          // The first goes on until it is stopped, wherever that meets it.
          for (int i = 0; thread == 0 || i < 25; ++i, ++asked) {
            Request request(thread == 0 ? stop.get_token() : std::stop_token());
            wrong += ask(1, request) != std::vector<float>(kCount, 11);
          }
        } catch (const Interrupted&) {
          ++interrupted;
        }
      });
    while (asked < 10) std::this_thread::yield();
    stop.request_stop();
  }
  EXPECT_EQ(interrupted, 1);
  EXPECT_EQ(wrong, 0);
  Request request;
  EXPECT_EQ(ask(2, request), std::vector<float>(kCount, 24));
}

}  // namespace
}  // namespace vivace
