// Plans: memory that is shared only between values that never meet, passes that can each be switched off, breaks that are reported.
#include "../models/components.h"
#include "backends/cpu/device.h"
#include "backends/cpu/isa.h"
#include "backends/ref/device.h"
#include "runtime/resize.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Runs the plan's steps in order and keeps, for every two bytes of the arena, which value wrote them last: each reader must find what its producer
// left.
class MemoryChecker {
 public:
  explicit MemoryChecker(const Plan& plan) : plan_(plan), owner_(static_cast<size_t>(plan.arena_bytes) / 2, -1), written_(plan.values.size()) {
    for (const PlanPort& port : plan.inputs) written_[static_cast<size_t>(port.value)] = true;
    for (const auto* program : {&plan.setup, &plan.step})
      for (const PlanStep& step : *program) written_[static_cast<size_t>(step.out)] = true;
  }

  void run() {
    for (const PlanPort& port : plan_.inputs) write(port.value);
    for (int round = 0; round < 2; ++round)  // the loop runs more than once: what setup left must survive a step
      for (const auto* program : {&plan_.setup, &plan_.step}) {
        if (round > 0 && program == &plan_.setup) continue;
        for (const PlanStep& step : *program) {
          for (int32_t in : step.in)
            if (in >= 0 && value(in).where == PlanValue::Where::arena) expect_read(in, step.kernel + " in " + step.scope);
          write(step.out);
          // A concat leaves alone what lies in its place.
          for (int32_t in : step.in)
            if (step.op == Op::concat && value(in).where == PlanValue::Where::arena && root(in) == step.out) write(producer(in));
        }
      }
    for (const PlanPort& port : plan_.outputs) expect_read(port.value, port.name);
  }

 private:
  const PlanValue& value(int32_t v) const { return plan_.values[static_cast<size_t>(v)]; }
  int32_t root(int32_t v) const {
    while (value(v).inside >= 0) v = value(v).inside;
    return v;
  }
  // Of a view or a slice: the value it looks at. A joined concat has none: its parts are written.
  int32_t producer(int32_t v) const {
    while (!written_[static_cast<size_t>(v)] && value(v).inside >= 0) v = value(v).inside;
    return v;
  }

  template <class Fn>
  void each_unit(int32_t v, Fn fn) {
    const PlanValue& one = value(v);
    const auto size = static_cast<int64_t>(dtype_size(one.type.dtype));
    const int64_t columns = one.type.shape.empty() ? 1 : one.type.shape.back(), rows = numel(one.type.shape) / std::max<int64_t>(1, columns);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t begin = one.offset + r * (one.pitch ? one.pitch : columns) * size;
      ASSERT_LE(begin + columns * size, plan_.arena_bytes);
      for (int64_t at = begin / 2; at < (begin + columns * size) / 2; ++at) fn(owner_[static_cast<size_t>(at)]);
    }
  }

  void write(int32_t v) {
    each_unit(v, [&](int32_t& owner) { owner = v; });
  }

  void expect_read(int32_t v, const std::string& reader) {
    const int32_t from = producer(v);
    int wrong = 0;
    each_unit(v, [&](int32_t owner) {
      // Parts of a joined concat come before it; what is written over it in place comes after.
      const bool part = owner >= 0 && owner < from && root(owner) == from;
      wrong += owner != from && !part;
    });
    EXPECT_EQ(wrong, 0) << reader << " reads a buffer that was given away";
  }

  const Plan& plan_;
  std::vector<int32_t> owner_;
  std::vector<uint8_t> written_;
};

void check_memory(const Plan& plan) { MemoryChecker(plan).run(); }

TEST(Plan, MemoryIsSharedOnlyByValuesThatNeverMeet) {
  for (CompileMode mode : {CompileMode::off, CompileMode::default_, CompileMode::max_autotune})
    for (DType dtype : {DType::float32, DType::bfloat16}) {
      const Plan plan = compile(golden::sdxl_graph(dtype), *cpu::device(), {.mode = mode, .autotune_seconds = 0});
      check_memory(plan);
      int64_t total = 0;
      for (const PlanValue& v : plan.values)
        if (v.where == PlanValue::Where::arena && v.inside < 0) total += numel(v.type.shape) * static_cast<int64_t>(dtype_size(v.type.dtype));
      EXPECT_LT(plan.arena_bytes, total / 2) << "buffers are hardly shared";
    }
}

TEST(Plan, ResizedPlansKeepTheirMemoryApart) {
  const CompileOptions options{.mode = CompileMode::max_autotune, .dynamic = true, .use_duck_shape = false};
  const Plan plan = compile(golden::sdxl_graph(), *cpu::device(), options);
  for (const Sizes& sizes : {Sizes{{"batch", 1}}, {{"height", 4}, {"width", 12}}, {{"batch", 3}, {"tokens", 5}, {"timesteps", 30}}}) {
    Plan resized;
    ASSERT_EQ(resize(plan, sizes, *cpu::device(), resized), std::nullopt);
    check_memory(resized);
    for (const auto& [name, size] : sizes) EXPECT_EQ(sizes_of(resized).at(name), size);
    Plan back;
    ASSERT_EQ(resize(resized, sizes_of(plan), *cpu::device(), back), std::nullopt);
    EXPECT_EQ(back.arena_bytes, plan.arena_bytes);
  }
}

TEST(Plan, GuardsSayWhyTheyFail) {
  const auto refusal = [](const CompileOptions& options, const Sizes& sizes) {
    Plan resized;
    return resize(compile(golden::sdxl_graph(), *cpu::device(), options), sizes, *cpu::device(), resized).value_or("accepted");
  };
  const CompileOptions fixed{.mode = CompileMode::default_}, dynamic{.mode = CompileMode::default_, .dynamic = true, .use_duck_shape = false};
  const Sizes now = sizes_of(compile(golden::sdxl_graph(), *cpu::device(), fixed));
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
  const auto item = golden::sdxl_case();
  const auto run = [&](const CompileOptions& options) {
    auto [graph, inputs] = golden::make_component(item, DType::float32);
    return golden::run(std::move(graph), cpu::device(), options, inputs, "", 0).at("sample");
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
  EXPECT_LT(distance(run({.mode = CompileMode::max_autotune, .autotune_seconds = 0})), tolerance) << "all passes";
  for (const std::string& kept : optional) {
    CompileOptions options{.mode = CompileMode::max_autotune, .autotune_seconds = 0};
    for (const std::string& name : optional)
      if (name != kept) options.disable_passes.push_back(name);
    EXPECT_LT(distance(run(options)), tolerance) << kept << " alone";
  }
}

TEST(Plan, UnknownPassIsRefused) {
  EXPECT_THROW(compile(golden::sdxl_graph(), *cpu::device(), {.mode = CompileMode::default_, .disable_passes = {"fuse_everything"}}), UsageError);
  EXPECT_THROW(compile(golden::sdxl_graph(), *cpu::device(), {.mode = CompileMode::default_, .disable_passes = {"cse"}}), UsageError)
      << "a required pass";
}

TEST(Plan, WithoutEpilogueFusionNothingMovesIntoAnEpilogue) {
  const auto fused = [](const CompilerFlags& flags) {
    const Plan plan = compile(golden::sdxl_graph(), *cpu::device(), {.mode = CompileMode::default_, .flags = flags});
    int count = 0;
    for (const PlanStep& step : plan.step) {
      const size_t residual = step.op == Op::linear ? 3 : 4;
      count += (step.op == Op::linear || step.op == Op::conv2d) && (step.attrs.has("act") || (step.in.size() > residual && step.in[residual] >= 0));
      count += step.op == Op::geglu_linear;
    }
    return count;
  };
  EXPECT_GT(fused({}), 10);
  EXPECT_EQ(fused({.epilogue_fusion = false}), 0);
}

TEST(Plan, FlagsAreSetByName) {
  CompilerFlags flags;
  EXPECT_EQ(CompileOptions{}.flags, flags) << "options begin with vivace::config";
  set_compiler_flag(flags, "coordinate_descent_tuning=true");
  set_compiler_flag(flags, "use_mixed_mm=false");
  EXPECT_EQ(flags, (CompilerFlags{.coordinate_descent_tuning = true, .use_mixed_mm = false}));
  EXPECT_THROW(set_compiler_flag(flags, "coordinate_descent=true"), UsageError);
  EXPECT_THROW(set_compiler_flag(flags, "use_mixed_mm=1"), UsageError);
}

TEST(Plan, FullgraphNamesTheBreak) {
  Builder b(DType::float32);
  const Value x = b.input("x", DType::float32, {2, 3, 4});
  b.output("y", b.transpose(x, {0, 2, 1}));  // the CPU has no kernel of its own for it
  const Graph graph = b.take();
  EXPECT_EQ(compile(graph, *cpu::device(), {}).graph_breaks.size(), 1u);
  try {
    compile(graph, *cpu::device(), {.mode = CompileMode::default_, .fullgraph = true});
    ADD_FAILURE() << "no error";
  } catch (const UserError& error) {
    for (const char* word : {"transpose", "plan_test.cc:", "ref_transpose"})
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
  }
  EXPECT_NO_THROW(compile(golden::sdxl_graph(), *cpu::device(), {.mode = CompileMode::default_, .fullgraph = true}));
}

// On each level, for what its processors lack oneDNN may lack too. A test is a process of its own: oneDNN heeds the limit that was there at its first
// use.
class PlanAtLevel : public testing::TestWithParam<cpu::Isa> {};

TEST_P(PlanAtLevel, NoModelHasAGraphBreak) {
  if (!cpu::has_isa(GetParam())) GTEST_SKIP() << "this machine has no " << cpu::isa_name(GetParam());
  cpu::limit_isa(GetParam());
  const std::shared_ptr<void> restore(nullptr, [](void*) { cpu::limit_isa(cpu::kHighestIsa); });
  for (const auto& item : golden::read_cases(std::string(VIVACE_SOURCE_DIR) + "/tests/models/data")) {
    if (item.at("kind") == "block") continue;
    for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16}) {
      const Plan plan = compile(golden::make_component(item, dtype).graph, *cpu::device(), {.mode = CompileMode::default_});
      EXPECT_TRUE(plan.graph_breaks.empty()) << item.at("name") << " in " << dtype_name(dtype) << ": " << plan.graph_breaks.at(0);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Isa, PlanAtLevel, testing::Values(cpu::Isa::avx2, cpu::Isa::avx512, cpu::kHighestIsa),
                         [](const auto& info) { return std::string(cpu::isa_name(info.param)); });

TEST(Plan, ANamedOpWithoutKernelIsDecomposed) {
  const auto build = [] {
    Builder b(DType::float32);
    const Value x = b.input("x", DType::float32, {2, 3, 4}), w = b.input("w", DType::float32, {5, 4}, Phase::setup);
    b.output("y", b.emit(Op::linear, {b.emit(Op::silu, {x}), w}));  // kernels pack their weights once, so none takes one that changes
    return b.take();
  };
  const golden::Tensors inputs{{"x", Generator(1).randn({2, 3, 4})}, {"w", Generator(2).randn({5, 4})}};
  const Plan plan = compile(build(), *cpu::device(), {.mode = CompileMode::default_});
  EXPECT_EQ(plan.graph_breaks.size(), 1u);
  for (const char* word : {"matmul", "plan_test.cc:"}) EXPECT_NE(plan.graph_breaks.at(0).find(word), std::string::npos) << plan.graph_breaks.at(0);
  const Tensor y = golden::run(build(), cpu::device(), {.mode = CompileMode::default_}, inputs, "", 0).at("y");
  const Tensor wanted = golden::run(build(), ref::device(), {}, inputs, "", 0).at("y");
  for (int64_t i = 0; i < y.numel(); ++i) EXPECT_NEAR(y.floats()[i], wanted.floats()[i], 8 * 0x1p-24 * 10);
}

// No machine's oneDNN multiplies float16, and our own kernels are of 1x1 and 3x3.
TEST(Plan, ANarrowConvolutionWithoutKernelIsComputedInFloat32) {
  const auto build = [] {
    Builder b(DType::float16);
    const Value x = b.input("x", DType::float16, {2, 6, 8, 4}), residual = b.input("residual", DType::float16, {2, 3, 4, 5});
    const Value y = b.conv2d(x, b.weight("w", {5, 4, 2, 2}), b.weight("b", {5}), 2, {0, 0, 0, 0});
    b.output("y", b.add(y, residual));
    return b.take();
  };
  const auto half = [](uint64_t seed, const Shape& shape) { return Generator(seed).randn(shape).to(DType::float16); };
  const golden::Tensors inputs{{"x", half(1, {2, 4, 6, 8})}, {"residual", half(2, {2, 5, 3, 4})}};
  const CompileOptions options{.mode = CompileMode::default_, .fullgraph = true};
  const Plan plan = compile(build(), *cpu::device(), options);
  EXPECT_EQ(std::ranges::count(plan.step, "onednn_conv2d", &PlanStep::kernel), 1);
  const Tensor y = golden::run(build(), cpu::device(), options, inputs, "", 0).at("y");
  const Tensor wanted = golden::run(build(), ref::device(), {}, inputs, "", 0).at("y");
  ASSERT_EQ(y.shape(), wanted.shape());
  for (int64_t i = 0; i < y.numel(); ++i) EXPECT_NEAR(y.floats()[i], wanted.floats()[i], 2 * 0x1p-11 * (std::abs(wanted.floats()[i]) + 1));
}

// What concats leave to copy, in the largest model that the tests have.
TEST(Plan, ConcatsCopyNothing) {
  const auto concats = [](const Plan& plan) {
    int n = 0;
    for (const PlanStep& step : plan.step) n += step.op == Op::concat;
    return n;
  };
  const Plan copied = compile(golden::sdxl_graph(), *cpu::device(), {.mode = CompileMode::default_, .disable_passes = {"join_concats"}});
  const Plan joined = compile(golden::sdxl_graph(), *cpu::device(), {.mode = CompileMode::default_});
  EXPECT_GT(concats(copied), 2);
  EXPECT_LE(joined.arena_bytes, copied.arena_bytes * 102 / 100);
  int in_place = 0;
  for (const PlanValue& v : joined.values) in_place += v.inside >= 0 && v.pitch && v.pitch > v.type.shape.back() && v.shift >= 0;
  EXPECT_GT(in_place, 0);
}

// Parts along both axes, one part of each an input that must be copied.
TEST(Plan, JoinedConcatsKeepTheResult) {
  for (int64_t axis : {-1, 0}) {
    const auto build = [axis] {
      Builder b(DType::float32);
      const Value x = b.input("x", DType::float32, {1, 4, 4, 8});
      const Value c = b.conv2d(x, b.weight("w", {8, 8, 3, 3}), {}, 1, {1, 1, 1, 1}), t = b.emit(Op::gelu, {c});
      const Value tokens = b.emit(Op::linear, {b.flatten_hw(c), b.weight("v", {8, 8})}), joined = b.concat({t, x, b.unflatten_hw(tokens, x)}, axis);
      b.output("y", axis == 0 ? joined : b.conv2d(joined, b.weight("u", {8, 24, 1, 1}), {}, 1, {0, 0, 0, 0}));
      return b.take();
    };
    const golden::Tensors inputs{{"x", Generator(3).randn({1, 8, 4, 4})}};
    const CompileOptions joined{.mode = CompileMode::default_}, copied{.mode = CompileMode::default_, .disable_passes = {"join_concats"}};
    const Plan plan = compile(build(), *cpu::device(), joined);
    check_memory(plan);
    int parts = 0;
    for (const PlanStep& step : plan.step)
      if (step.op == Op::concat)
        for (int32_t in : step.in) parts += plan.values[static_cast<size_t>(in)].inside >= 0;
    EXPECT_EQ(parts, 2) << "axis " << axis;
    const auto a = golden::run(build(), cpu::device(), joined, inputs, "", 0), b = golden::run(build(), cpu::device(), copied, inputs, "", 0);
    for (const auto& [name, tensor] : a)
      for (int64_t i = 0; i < tensor.numel(); ++i) EXPECT_EQ(tensor.floats()[i], b.at(name).floats()[i]) << name << i;
  }
}

TEST(Plan, AttentionBackendIsTheOneAskedFor) {
  for (const auto& [backend, kernel] : {std::pair{SDPBackend::math, "attention_math"}, {SDPBackend::efficient, "attention_efficient"}}) {
    const Plan plan = compile(golden::sdxl_graph(), *cpu::device(), {.sdpa = backend});
    for (const PlanStep& step : plan.step)
      if (step.op == Op::attention) {
        EXPECT_EQ(step.kernel, kernel);
      }
  }
}

TEST(Plan, StepInvariantWorkLeavesTheLoop) {
  const Plan eager = compile(golden::sdxl_graph(), *cpu::device(), {}),
             compiled = compile(golden::sdxl_graph(), *cpu::device(), {.mode = CompileMode::default_});
  EXPECT_TRUE(eager.setup.empty());
  int keys_in_loop = 0;
  for (const PlanStep& step : compiled.step)
    if (step.op == Op::linear && step.scope.find("attn2.to_k") != std::string::npos) ++keys_in_loop;
  EXPECT_EQ(keys_in_loop, 0);
  EXPECT_GT(compiled.setup.size(), 10u);
  EXPECT_LT(compiled.step.size(), eager.step.size() * 3 / 4);
}

TEST(Plan, StepsAllocateNothing) {
  const auto item = golden::sdxl_case();
  auto [graph, inputs] = golden::make_component(item, DType::float32);
  auto plan = std::make_shared<const Plan>(compile(std::move(graph), *cpu::device(), {.mode = CompileMode::default_}));
  std::map<std::string, Tensor> made;
  ConstantStore store(cpu::device());
  const WeightSource weights{.find = [&](const std::string& name) -> WeightBytes {
                               for (const PlanValue& v : plan->values)
                                 if (v.where == PlanValue::Where::weight && v.key == name) made.emplace(name, random_weight(name, v.type.shape, 0));
                               return {DType::float32, made.at(name).data()};
                             },
                             .release = [](const std::string&) {}};
  Request request;
  Session session(plan, *cpu::device(), store, weights, request);
  for (const PlanPort& input : plan->inputs) {
    Tensor t = session.input(input.name).host;
    std::memset(t.data(), 0, t.bytes());  // an index in there must be one
  }
  session.run(Phase::setup, request);
  const int64_t before = request.counters.allocations;
  for (int i = 0; i < 3; ++i) session.run(Phase::step, request);
  EXPECT_EQ(request.counters.allocations, before);
  EXPECT_EQ(request.counters.host_device_syncs, 0);
}

}  // namespace
}  // namespace vivace
