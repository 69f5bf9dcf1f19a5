// Plans: memory that is shared only between values that never meet, passes that can each be switched off, breaks that are reported.
#include "../models/components.h"

#include "backends/cpu/backend.h"
#include "backends/ref/backend.h"
#include "runtime/resize.h"
#include "vivace/error.h"

namespace vivace {
namespace {

nlohmann::json sdxl_case() {
  for (const auto& item : golden::read_cases(std::string(VIVACE_SOURCE_DIR) + "/tests/models/data"))
    if (item.at("name") == "unet_sdxl") return item;
  throw InternalError("no golden case unet_sdxl");
}

Graph sdxl_graph(DType dtype = DType::float32) { return golden::make_component(sdxl_case(), dtype).graph; }

// Runs the plan's steps in order and keeps, for every byte of the arena, who wrote it last: each reader must find what its producer left.
void check_memory(const Plan& plan) {
  std::map<int64_t, int32_t> owner;  // by 64-byte line
  const auto lines = [&](int32_t v, const auto& fn) {
    const PlanValue& value = plan.values[static_cast<size_t>(v)];
    const int64_t bytes = numel(value.type.shape) * static_cast<int64_t>(dtype_size(value.type.dtype));
    ASSERT_LE(value.offset + bytes, plan.arena_bytes);
    for (int64_t at = value.offset / 64; at <= (value.offset + std::max<int64_t>(bytes, 1) - 1) / 64; ++at) fn(at);
  };
  const auto root = [&](int32_t v) {
    while (plan.values[static_cast<size_t>(v)].inside >= 0) v = plan.values[static_cast<size_t>(v)].inside;
    return v;
  };
  for (const PlanPort& port : plan.inputs) lines(port.value, [&](int64_t at) { owner[at] = root(port.value); });
  for (int round = 0; round < 2; ++round)  // the loop runs more than once: what setup left must survive a step
    for (const auto* program : {&plan.setup, &plan.step}) {
      if (round > 0 && program == &plan.setup) continue;
      for (const PlanStep& step : *program) {
        for (int32_t in : step.in)
          if (in >= 0 && plan.values[static_cast<size_t>(in)].where == PlanValue::Where::arena)
            lines(in, [&](int64_t at) { ASSERT_EQ(owner[at], root(in)) << step.kernel << " in " << step.scope << " reads a buffer that was given away"; });
        lines(step.out, [&](int64_t at) { owner[at] = root(step.out); });
      }
    }
  for (const PlanPort& port : plan.outputs) lines(port.value, [&](int64_t at) { EXPECT_EQ(owner[at], root(port.value)); });
}

TEST(Plan, MemoryIsSharedOnlyByValuesThatNeverMeet) {
  for (CompileMode mode : {CompileMode::off, CompileMode::default_, CompileMode::max_autotune})
    for (DType dtype : {DType::float32, DType::bfloat16}) {
      const Plan plan = compile(sdxl_graph(dtype), cpu::backend(), {.mode = mode});
      check_memory(plan);
      int64_t total = 0;
      for (const PlanValue& v : plan.values)
        if (v.where == PlanValue::Where::arena && v.inside < 0) total += numel(v.type.shape) * static_cast<int64_t>(dtype_size(v.type.dtype));
      EXPECT_LT(plan.arena_bytes, total / 2) << "buffers are hardly shared";
    }
}

TEST(Plan, ResizedPlansKeepTheirMemoryApart) {
  const CompileOptions options{.mode = CompileMode::max_autotune, .dynamic = true, .use_duck_shape = false};
  const Plan plan = compile(sdxl_graph(), cpu::backend(), options);
  for (const Sizes& sizes : {Sizes{{"batch", 1}}, {{"height", 4}, {"width", 12}}, {{"batch", 3}, {"tokens", 5}, {"timesteps", 30}}}) {
    Plan resized;
    ASSERT_EQ(resize(plan, sizes, cpu::backend(), resized), std::nullopt);
    check_memory(resized);
    for (const auto& [name, size] : sizes) EXPECT_EQ(sizes_of(resized).at(name), size);
    Plan back;
    ASSERT_EQ(resize(resized, sizes_of(plan), cpu::backend(), back), std::nullopt);
    EXPECT_EQ(back.arena_bytes, plan.arena_bytes);
  }
}

TEST(Plan, GuardsSayWhyTheyFail) {
  const auto refusal = [](const CompileOptions& options, const Sizes& sizes) {
    Plan resized;
    return resize(compile(sdxl_graph(), cpu::backend(), options), sizes, cpu::backend(), resized).value_or("accepted");
  };
  const CompileOptions fixed{.mode = CompileMode::default_}, dynamic{.mode = CompileMode::default_, .dynamic = true, .use_duck_shape = false};
  const Sizes now = sizes_of(compile(sdxl_graph(), cpu::backend(), fixed));
  EXPECT_EQ(refusal(fixed, now), "accepted");
  EXPECT_EQ(refusal(fixed, {{"timesteps", 50}}), "accepted") << "the number of steps is a symbol always";
  EXPECT_NE(refusal(fixed, {{"batch", 7}}).find("batch is "), std::string::npos);
  EXPECT_NE(refusal(dynamic, {{"height", now.at("height") + 1}}).find("no multiple of"), std::string::npos);
  CompileOptions duck = dynamic;
  duck.use_duck_shape = true;
  ASSERT_EQ(now.at("height"), now.at("width"));
  EXPECT_NE(refusal(duck, {{"height", 2 * now.at("height")}, {"width", now.at("width")}}).find("are one symbol"), std::string::npos);
}

TEST(Plan, EveryPassAloneKeepsTheResult) {
  const auto item = sdxl_case();
  const auto run = [&](const CompileOptions& options) {
    auto [graph, inputs] = golden::make_component(item, DType::float32);
    return golden::run(std::move(graph), cpu::backend(), options, inputs, "", 0).at("sample");
  };
  const Tensor eager = run({});
  const auto distance = [&](const Tensor& other) {
    double worst = 0;
    for (int64_t i = 0; i < eager.numel(); ++i) worst = std::max(worst, std::abs(static_cast<double>(eager.floats()[i]) - other.floats()[i]));
    return worst;
  };
  // As in tests/models: some ten layers of a few hundred terms, for outputs of about 1.
  const double tolerance = 5 * std::sqrt(10.0 * 1000) * 0x1p-24;
  std::vector<std::string> optional;
  for (const PassInfo& pass : pass_list())
    if (pass.optional) optional.emplace_back(pass.name);
  EXPECT_LT(distance(run({.mode = CompileMode::max_autotune})), tolerance) << "all passes";
  for (const std::string& kept : optional) {
    CompileOptions options{.mode = CompileMode::max_autotune};
    for (const std::string& name : optional)
      if (name != kept) options.disable_passes.push_back(name);
    EXPECT_LT(distance(run(options)), tolerance) << kept << " alone";
  }
}

TEST(Plan, UnknownPassIsRefused) {
  EXPECT_THROW(compile(sdxl_graph(), cpu::backend(), {.mode = CompileMode::default_, .disable_passes = {"fuse_everything"}}), UsageError);
  EXPECT_THROW(compile(sdxl_graph(), cpu::backend(), {.mode = CompileMode::default_, .disable_passes = {"cse"}}), UsageError) << "a required pass";
}

TEST(Plan, FullgraphNamesTheBreak) {
  Builder b(DType::float32);
  const Value x = b.input("x", DType::float32, {2, 3, 4});
  b.output("y", b.transpose(x, {0, 2, 1}));  // the CPU has no kernel of its own for it
  const Graph graph = b.take();
  EXPECT_EQ(compile(graph, cpu::backend(), {}).graph_breaks.size(), 1u);
  try {
    compile(graph, cpu::backend(), {.mode = CompileMode::default_, .fullgraph = true});
    ADD_FAILURE() << "no error";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("transpose"), std::string::npos) << error.what();
  }
  EXPECT_NO_THROW(compile(sdxl_graph(), cpu::backend(), {.mode = CompileMode::default_, .fullgraph = true}));
}

TEST(Plan, AttentionBackendIsTheOneAskedFor) {
  for (const auto& [backend, kernel] : {std::pair{SDPBackend::math, "attention_math"}, {SDPBackend::efficient, "attention_efficient"}}) {
    const Plan plan = compile(sdxl_graph(), cpu::backend(), {.sdpa = backend});
    for (const PlanStep& step : plan.step)
      if (step.op == Op::attention) {
        EXPECT_EQ(step.kernel, kernel);
      }
  }
}

TEST(Plan, StepInvariantWorkLeavesTheLoop) {
  const Plan eager = compile(sdxl_graph(), cpu::backend(), {}), compiled = compile(sdxl_graph(), cpu::backend(), {.mode = CompileMode::default_});
  EXPECT_TRUE(eager.setup.empty());
  int keys_in_loop = 0;
  for (const PlanStep& step : compiled.step)
    if (step.op == Op::linear && step.scope.find("attn2.to_k") != std::string::npos) ++keys_in_loop;
  EXPECT_EQ(keys_in_loop, 0);
  EXPECT_GT(compiled.setup.size(), 10u);
  EXPECT_LT(compiled.step.size(), eager.step.size() * 3 / 4);
}

TEST(Plan, StepsAllocateNothing) {
  const auto item = sdxl_case();
  auto [graph, inputs] = golden::make_component(item, DType::float32);
  auto plan = std::make_shared<const Plan>(compile(std::move(graph), cpu::backend(), {.mode = CompileMode::default_}));
  std::map<std::string, Tensor> made;
  ConstantStore store;
  const WeightSource weights{.find = [&](const std::string& name) -> WeightBytes {
                               for (const PlanValue& v : plan->values)
                                 if (v.where == PlanValue::Where::weight && v.key == name) made.emplace(name, random_weight(name, v.type.shape, 0));
                               return {DType::float32, made.at(name).data()};
                             },
                             .release = [](const std::string&) {}};
  Session session(plan, cpu::backend(), store, weights);
  session.run(Phase::setup);
  const int64_t before = runtime_counters().allocations;
  for (int i = 0; i < 3; ++i) session.run(Phase::step);
  EXPECT_EQ(runtime_counters().allocations, before);
  EXPECT_EQ(runtime_counters().host_device_syncs, 0);
}

}  // namespace
}  // namespace vivace
