// The search for kernels: what it tries, what it remembers, and that a plan runs what it found. What is faster is not for a test to say.
#include "compiler/autotune.h"

#include <chrono>
#include <set>
#include <thread>

#include "../grouping_locale.h"
#include "../models/components.h"
#include "../temp_folder.h"
#include "backends/cpu/device.h"
#include "compiler/compile.h"
#include "runtime/session.h"
#include "vivace/error.h"

namespace vivace {
namespace {

std::set<std::string> g_tried;  // tunings that a fake kernel was bound with

const std::vector<TuningParameter> kFakeParameters{{"a", {1, 2, 3}, 2}, {"b", {10, 20, 30}, 20}};

class FakeOffer final : public Offer {
 public:
  FakeOffer(const KernelCall& call, std::function<void()> at_bind, std::function<void()> at_run)
      : tuning_(call.tuning), at_bind_(std::move(at_bind)), at_run_(std::move(at_run)) {}
  std::unique_ptr<BoundKernel> bind(const Buffers&) const override {
    g_tried.insert(tuning_);
    at_bind_();
    return bound(at_run_);
  }
  std::vector<TuningParameter> parameters() const override { return kFakeParameters; }
  std::vector<std::string> variants() const override { return {"a=2 b=10"}; }

 private:
  const std::string tuning_;
  const std::function<void()> at_bind_, at_run_;
};

KernelEntry fake(
    std::string name, std::function<void()> at_bind = [] {}, std::function<void()> at_run = [] {}) {
  return {.name = std::move(name), .op = Op::silu, .ask = [=](const KernelCall& call, const Target&) -> Answer {
            return std::make_unique<FakeOffer>(call, at_bind, at_run);
          }};
}
const KernelEntry kFake = fake("fake");
const Attrs kNoAttrs;

std::string machine() { return cpu::device()->target().text; }

// So frequent a call that it is worth a search.
TuningRequest fake_request() {
  return {.call = {.op = Op::silu, .attrs = &kNoAttrs, .in = {Operand{DType::float32, {4}}}, .out = {DType::float32, {4}}},
          .candidates = {&kFake},
          .occurrences = 1'000'000'000};
}

std::set<std::string> tried(const CompilerFlags& flags) {
  g_tried.clear();
  TuningStore store;
  const TuningRequest request = fake_request();
  Request caller;
  autotune({&request, 1}, {.mode = CompileMode::max_autotune, .flags = flags}, store, *cpu::device(), caller);
  return g_tried;
}

TEST(Autotune, TheListIsTheDefaultAndTheVariants) { EXPECT_EQ(tried({}), (std::set<std::string>{"", "a=2 b=10"})); }

TEST(Autotune, CoordinateDescentLooksAtNeighbours) {
  const auto single = tried({.coordinate_descent_tuning = true});
  EXPECT_GE(single.size(), 4u);
  // Whatever was best in the end, all that differ from it by a neighbouring value of one parameter were tried; with all directions by one of each.
  const auto all = tried({.coordinate_descent_tuning = true, .coordinate_descent_check_all_directions = true});
  const auto name = [](int a, int b) { return tuning_text(kFakeParameters, {a, b * 10}); };
  const auto knows = [&](const std::set<std::string>& set, int a, int b) {
    return a < 1 || a > 3 || b < 1 || b > 3 || set.contains(name(a, b)) || (a == 2 && b == 2);
  };
  int crosses = 0, squares = 0;
  for (int a = 1; a <= 3; ++a)
    for (int b = 1; b <= 3; ++b) {
      crosses += knows(single, a - 1, b) && knows(single, a + 1, b) && knows(single, a, b - 1) && knows(single, a, b + 1);
      bool square = true;
      for (int i = -1; i <= 1; ++i)
        for (int j = -1; j <= 1; ++j) square = square && knows(all, a + i, b + j);
      squares += square;
    }
  EXPECT_GT(crosses, 0);
  EXPECT_GT(squares, 0);
}

TEST(Autotune, WhatIsKnownIsNotSearchedAgain) {
  TuningStore store;
  const TuningRequest request = fake_request();
  const CompileOptions options{.mode = CompileMode::max_autotune};
  Request caller;
  const auto first = autotune({&request, 1}, options, store, *cpu::device(), caller),
             second = autotune({&request, 1}, options, store, *cpu::device(), caller);
  EXPECT_EQ(caller.counters.settings_timed, 2);
  EXPECT_EQ(first[0].measured.size(), 2u);
  EXPECT_EQ(second[0].measured[0].tuning, first[0].measured[0].tuning);
  const auto third =
      autotune({&request, 1}, {.mode = CompileMode::max_autotune, .flags = {.coordinate_descent_tuning = true}}, store, *cpu::device(), caller);
  EXPECT_GT(third[0].settings, 2);
  EXPECT_EQ(caller.counters.settings_timed, 2 + third[0].settings) << "another kind of search is another search";
}

TEST(Autotune, ABudgetOfNothingTimesNothing) {
  TuningStore store;
  const TuningRequest request = fake_request();
  g_tried.clear();
  Request caller;
  const auto results = autotune({&request, 1}, {.mode = CompileMode::max_autotune, .autotune_seconds = 0}, store, *cpu::device(), caller);
  EXPECT_TRUE(results[0].measured.empty());
  EXPECT_TRUE(g_tried.empty());
  EXPECT_FALSE(store.find(tuning_key(request, {}, machine())).has_value()) << "the next compile must search";
}

// The first search takes more than there is; it has a result even so, and the second is left for the next compile.
TEST(Autotune, WhenTheBudgetIsSpentTheBestSoFarWins) {
  const KernelEntry slow = fake(
      "slow", [] {}, [] { std::this_thread::sleep_for(std::chrono::milliseconds(15)); });
  std::vector<TuningRequest> requests(2, fake_request());
  for (TuningRequest& request : requests) request.candidates = {&slow};
  requests[1].call.out.shape = {8};  // the larger share
  TuningStore store;
  std::vector<AutotuneProgress> seen;
  const CompileOptions options{
      .mode = CompileMode::max_autotune, .autotune_seconds = 0.01, .on_autotune = [&](const AutotuneProgress& p) { seen.push_back(p); }};
  Request caller;
  const auto results = autotune(requests, options, store, *cpu::device(), caller);
  EXPECT_TRUE(results[0].measured.empty());
  ASSERT_EQ(results[1].measured.size(), 1u);
  EXPECT_EQ(results[1].measured[0].tuning, "") << "no time was left for the variant";
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].done, 1);
  EXPECT_EQ(seen[0].total, 2);
  EXPECT_EQ(seen[0].budget, 0.01);
  EXPECT_TRUE(store.find(tuning_key(requests[1], {}, machine())).has_value());
  EXPECT_FALSE(store.find(tuning_key(requests[0], {}, machine())).has_value());
}

// A search that is stopped ends with the setting it is at; nothing half searched is stored.
TEST(Autotune, StopsBetweenTwoTimings) {
  static std::stop_source stop;
  stop = {};
  g_tried.clear();
  const KernelEntry stopping = fake("stopping", [] { stop.request_stop(); });
  TuningRequest request = fake_request();
  request.candidates = {&stopping};
  TuningStore store;
  Request caller(stop.get_token());
  EXPECT_THROW(autotune({&request, 1}, {.mode = CompileMode::max_autotune}, store, *cpu::device(), caller), Interrupted);
  EXPECT_EQ(g_tried, std::set<std::string>{""});
  EXPECT_FALSE(store.find(tuning_key(request, {}, machine())).has_value());
}

// Four numbers once a run are not worth a minute.
TEST(Autotune, ASearchTakesNoLongerThanItIsWorth) {
  const KernelEntry slow = fake(
      "slow", [] {}, [] { std::this_thread::sleep_for(std::chrono::milliseconds(15)); });
  TuningRequest request = fake_request();
  request.candidates = {&slow};
  const auto settings = [&](int occurrences) {
    request.occurrences = occurrences;
    TuningStore store;
    Request caller;
    return autotune({&request, 1}, {.mode = CompileMode::max_autotune}, store, *cpu::device(), caller)[0].settings;
  };
  EXPECT_EQ(settings(1), 1);
  EXPECT_EQ(settings(1'000'000'000), 2);
}

TEST(Autotune, ResultsAreText) {
  const TuningResult result{{{"gemm", "tiles=8 panels=10", 0.001234}, {"onednn_linear", "", 0.002}}, 1.5, 7};
  const auto again = parse_tuning_result(print_tuning_result(result));
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->seconds, 1.5);
  EXPECT_EQ(again->settings, 7);
  ASSERT_EQ(again->measured.size(), 2u);
  EXPECT_EQ(again->measured[0].kernel, "gemm");
  EXPECT_EQ(again->measured[0].tuning, "tiles=8 panels=10");
  EXPECT_EQ(again->measured[1].tuning, "");
  EXPECT_EQ(again->measured[1].seconds, 0.002);
  for (const char* damaged : {"", "1.5\n", "1.5 7\n", "gemm\n", "1.5 7\nfast gemm\n", "1.5 7\n0.1\n", "1.5\n0.1 gemm\n"})
    EXPECT_FALSE(parse_tuning_result(damaged).has_value()) << damaged;
  // What one program keeps another reads, whatever its locale.
  const std::string text = print_tuning_result(result);
  const GroupingLocale german;
  EXPECT_EQ(print_tuning_result(result), text);
  EXPECT_EQ(parse_tuning_result(text).value().measured.at(1).seconds, 0.002);
}

TEST(Autotune, AnotherProcessFindsTheResultsInTheFolder) {
  const TempFolder folder;
  const CacheOptions cache{.folder = folder.path(), .max_bytes = 1'000'000};
  const TuningRequest request = fake_request();
  const CompileOptions options{.mode = CompileMode::max_autotune};
  const auto timed = [&] {
    Request caller;
    TuningStore store{CacheFolder(cache)};
    autotune({&request, 1}, options, store, *cpu::device(), caller);
    return caller.counters.settings_timed;
  };
  EXPECT_EQ(timed(), 2);
  EXPECT_EQ(timed(), 0);
  for (const CacheEntry& entry : CacheFolder(cache).entries()) std::filesystem::resize_file(entry.path, entry.bytes / 2);
  EXPECT_EQ(timed(), 2) << "a damaged entry is searched again";
  EXPECT_EQ(timed(), 0);
}

// An entry that came out whole but holds another text.
TEST(Autotune, ANonsenseResultIsSearchedAgain) {
  const TempFolder folder;
  const CacheFolder cache{CacheOptions{.folder = folder.path(), .max_bytes = 1'000'000}};
  cache.write("tuning", tuning_key(fake_request(), {}, machine()), "0.1 1\n0.5 no_such_kernel\n");
  TuningStore store{cache};
  const TuningRequest request = fake_request();
  Request caller;
  const auto results = autotune({&request, 1}, {.mode = CompileMode::max_autotune}, store, *cpu::device(), caller);
  EXPECT_EQ(results[0].measured[0].kernel, "fake");
}

TEST(Autotune, APlanRunsWhatWasFound) {
  for (const auto& item : golden::read_cases(std::string(VIVACE_SOURCE_DIR) + "/tests/models/data")) {
    if (item.at("name") != "unet_sdxl") continue;
    const auto run = [&](const CompileOptions& options) {
      auto [graph, inputs] = golden::make_component(item, DType::float32);
      return golden::run(std::move(graph), cpu::device(), options, inputs, "", 0).at("sample");
    };
    const CompileOptions tuned{.mode = CompileMode::max_autotune, .autotune_seconds = 1};
    const Tensor eager = run({}), fast = run(tuned);
    // As in plan_test: some ten layers of a few hundred terms, for outputs of about 1.
    const double tolerance = 5 * std::sqrt(10.0 * 1000) * 0x1p-24;
    for (int64_t i = 0; i < eager.numel(); ++i) ASSERT_NEAR(eager.floats()[i], fast.floats()[i], tolerance);
    TuningStore store;
    Request caller;
    const auto plan_with = [&](double seconds) {
      return compile(golden::make_component(item, DType::float32).graph, *cpu::device(),
                     {.mode = CompileMode::max_autotune, .autotune_seconds = seconds}, &store, &caller);
    };
    plan_with(1);
    const int64_t before = caller.counters.settings_timed;
    const Plan plan = plan_with(0);
    EXPECT_GT(before, 0);
    EXPECT_EQ(caller.counters.settings_timed, before);
    int measured = 0;
    for (const PlanStep& step : plan.step) {
      if (step.measured.empty()) continue;
      EXPECT_EQ(step.measured[0].kernel, step.kernel);
      EXPECT_EQ(step.measured[0].tuning, step.tuning);
      ++measured;
    }
    EXPECT_GT(measured, 10) << "the plan shows what was timed";
    const Plan listed =
        compile(golden::make_component(item, DType::float32).graph, *cpu::device(), {.mode = CompileMode::max_autotune, .autotune_seconds = 0});
    EXPECT_EQ(std::ranges::count(plan.step, Op::concat, &PlanStep::op), std::ranges::count(listed.step, Op::concat, &PlanStep::op))
        << "no kernel is chosen that cannot write into a concat's buffer";
    EXPECT_GT(plan.autotuning.seconds_each_call, plan.autotuning.seconds);
  }
}

}  // namespace
}  // namespace vivace
