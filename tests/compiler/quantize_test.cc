// Quantisation as a plan shows it, and as a session reports what cannot be quantised.
#include "vivace/quantize.h"

#include <gtest/gtest.h>

#include "../models/components.h"
#include "backends/cpu/device.h"
#include "vivace/error.h"
#include "vivace/quality.h"

namespace vivace {
namespace {

std::map<std::string, Quantization> every_linear(const Graph& graph, Quantization kind) {
  std::map<std::string, Quantization> layers;
  for (const Node& node : graph.nodes)
    if (node.op == Op::linear) layers[node.scope] = kind;
  return layers;
}

int count(const Plan& plan, const std::function<bool(const PlanStep&)>& wanted) {
  int n = 0;
  for (const auto* program : {&plan.setup, &plan.step})
    for (const PlanStep& step : *program) n += wanted(step);
  return n;
}
bool is_int8(const PlanStep& step) { return step.attrs.text("compute") == "int8_dynamic"; }

class QuantizeProducts : public testing::TestWithParam<Quantization> {};
INSTANTIATE_TEST_SUITE_P(Kinds, QuantizeProducts, testing::Values(Quantization::int8_dynamic, Quantization::float8_dynamic),
                         [](const auto& info) { return info.param == Quantization::int8_dynamic ? "int8" : "float8"; });

TEST_P(QuantizeProducts, NormsQuantiseAndProjectionsStayJoined) {
  CompileOptions options{.mode = CompileMode::default_};
  const Plan floating = compile(golden::sdxl_graph(), *cpu::device(), options);
  options.quantize = every_linear(golden::sdxl_graph(), GetParam());
  const auto multiplies_bytes = [](const PlanStep& step) {
    return step.attrs.text("compute") == (GetParam() == Quantization::int8_dynamic ? "int8_dynamic" : "float8_dynamic");
  };
  const Plan plan = compile(golden::sdxl_graph(), *cpu::device(), options);
  const auto is_linear = [](const PlanStep& step) { return step.op == Op::linear || step.op == Op::geglu_linear; };
  EXPECT_EQ(count(plan, is_linear), count(floating, is_linear)) << "Q, K, V are as joined as before";
  EXPECT_EQ(count(plan, multiplies_bytes), count(plan, is_linear));
  // Every norm of a transformer block quantises what it writes; nothing but what several layers read is quantised on its own.
  EXPECT_EQ(count(plan, [](const PlanStep& step) { return step.op == Op::layer_norm && !step.attrs.has("quantize"); }), 0);
  EXPECT_GT(count(plan, [](const PlanStep& step) { return step.op == Op::layer_norm; }), 2);
  for (const PlanStep& step : plan.step)
    if (step.op == Op::quantize_rows) {
      EXPECT_GT(count(plan, [&](const PlanStep& reader) { return !reader.in.empty() && reader.in[0] == step.out; }), 1) << step.scope;
    }
  EXPECT_TRUE(plan.graph_breaks.empty());
  EXPECT_LT(plan.constant_bytes, floating.constant_bytes);
}

TEST(Quantize, FlagsChangeThePlan) {
  CompileOptions options{.mode = CompileMode::default_};
  options.quantize = every_linear(golden::sdxl_graph(), Quantization::int8_dynamic);
  const auto separate = [](const char* attribute) { return [attribute](const PlanStep& step) { return step.attrs.text(attribute) == "separate"; }; };
  EXPECT_EQ(count(compile(golden::sdxl_graph(), *cpu::device(), options), separate("epilogue")), 0);
  options.flags.force_fuse_int_mm_with_mul = false;
  EXPECT_GT(count(compile(golden::sdxl_graph(), *cpu::device(), options), separate("epilogue")), 10);
  options.quantize = every_linear(golden::sdxl_graph(), Quantization::float8_weight_only);
  EXPECT_EQ(count(compile(golden::sdxl_graph(), *cpu::device(), options), separate("decode")), 0);
  options.flags.use_mixed_mm = false;
  EXPECT_GT(count(compile(golden::sdxl_graph(), *cpu::device(), options), separate("decode")), 10);
}

TEST(Quantize, EagerRunsItToo) {
  CompileOptions options;
  options.quantize = every_linear(golden::sdxl_graph(), Quantization::int8_dynamic);
  const Plan plan = compile(golden::sdxl_graph(), *cpu::device(), options);
  EXPECT_GT(count(plan, is_int8), 10);
  EXPECT_EQ(count(plan, [](const PlanStep& step) { return step.op == Op::quantize_rows; }), 0) << "an optional pass";
}

// The error of a whole UNet grows with its depth as a random walk does: each of its 8-bit products adds about kMaxDrift at most.
TEST(Quantize, TheModelsOutputStaysNear) {
  const auto item = golden::sdxl_case();
  const auto run = [&](const CompileOptions& options) {
    auto [graph, inputs] = golden::make_component(item, DType::float32);
    return golden::run(std::move(graph), cpu::device(), options, inputs, "", 0).at("sample");
  };
  const Tensor exact = run({});
  constexpr double kFloat8Error = 0.038;  // of one product (docs/error-budget.md)
  for (const auto& [mode, kind] : {std::pair{CompileMode::off, Quantization::int8_dynamic},
                                   {CompileMode::default_, Quantization::int8_dynamic},
                                   {CompileMode::off, Quantization::float8_dynamic},
                                   {CompileMode::default_, Quantization::float8_dynamic}}) {
    CompileOptions options{.mode = mode};
    options.quantize = every_linear(golden::sdxl_graph(), kind);
    const double each = kind == Quantization::int8_dynamic ? kMaxDrift : kFloat8Error;
    const double bound = each * std::sqrt(static_cast<double>(options.quantize.size()));
    const double fused = relative_rms(exact, run(options));
    EXPECT_LT(fused, bound);
    EXPECT_GT(fused, 0);
    options.flags.force_fuse_int_mm_with_mul = false;
    EXPECT_DOUBLE_EQ(relative_rms(exact, run(options)), fused) << "the same arithmetic in another order of passes";
  }
}

Graph two_layers(Builder b, bool norm) {
  Value x = b.input("x", DType::float32, {1, 5, 16});
  if (norm) {
    const auto scope = b.scope("block.norm");
    x = b.emit(Op::layer_norm, {x, b.weight("weight", {16}), b.weight("bias", {16})}, {{"eps", 1e-5}});
  }
  const auto scope = b.scope("block.to_q");
  b.output("y", b.emit(Op::linear, {x, b.weight("weight", {8, 16})}));
  return b.take();
}

TEST(Quantize, NotANumberIsReportedWithTheLayersName) {
  for (const auto& [norm, kind] : {std::pair{false, Quantization::int8_dynamic},
                                   {true, Quantization::int8_dynamic},
                                   {false, Quantization::float8_dynamic},
                                   {true, Quantization::float8_dynamic}}) {
    CompileOptions options{.mode = CompileMode::default_};
    options.quantize = {{"block.to_q", kind}};
    const auto plan = std::make_shared<const Plan>(compile(two_layers(Builder(DType::float32), norm), *cpu::device(), options));
    const Tensor ones = Tensor::full({8, 16}, 1);
    ConstantStore store(cpu::device());
    const WeightSource weights{.find = [&](const std::string&) -> WeightBytes {
                                 return {DType::float32, ones.data()};
                               },
                               .release = [](const std::string&) {}};
    Request request;
    Session session(plan, *cpu::device(), store, weights, request);
    Tensor x = Generator(0).randn({1, 5, 16});
    const auto run = [&] {
      session.write("x", x);
      session.run(Phase::setup, request);
      session.run(Phase::step, request);
      session.wait(request);
      session.check_quantized();
    };
    EXPECT_NO_THROW(run());
    for (const float bad : {NAN, INFINITY}) {
      x.floats()[37] = bad;
      try {
        run();
        ADD_FAILURE() << bad << " was not noticed";
      } catch (const UserError& error) {
        const std::string layer = norm ? "layer block.norm:" : "layer block.to_q:";
        EXPECT_TRUE(std::string(error.what()).starts_with(layer)) << error.what();
      }
    }
    x.floats()[37] = 0;
    EXPECT_NO_THROW(run()) << "it is told once";
  }
}

}  // namespace
}  // namespace vivace
