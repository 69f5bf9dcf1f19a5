// Regional compilation: every kind of block once, the same numbers, and an eager graph around the regions.
#include "compiler/regions.h"

#include "../models/components.h"
#include "backends/cpu/backend.h"
#include "compiler/compile.h"
#include "vivace/error.h"

namespace vivace {
namespace {

nlohmann::json case_named(const std::string& name) {
  for (const auto& item : golden::read_cases(std::string(VIVACE_SOURCE_DIR) + "/tests/models/data"))
    if (item.at("name") == name) return item;
  throw InternalError("no golden case " + name);
}

Graph unet() { return golden::make_component(case_named("unet_sdxl"), DType::float32).graph; }

CompileOptions regional(const char* classes) {
  CompileOptions options{.mode = CompileMode::default_};
  options.regions = {classes};
  return options;
}

TEST(Regions, RepeatedBlocksAreCompiledOnceAKind) {
  const auto blocks = repeated_blocks(unet());
  const auto block = std::ranges::find(blocks, "BasicTransformerBlock", &RepeatedBlock::class_name);
  ASSERT_NE(block, blocks.end());
  const Plan plan = compile(unet(), cpu::backend(), regional("BasicTransformerBlock"));
  int occurrences = 0;
  for (const PlanRegion& region : plan.regions) occurrences += region.occurrences;
  EXPECT_EQ(occurrences, static_cast<int>(block->scopes.size()));
  EXPECT_LT(plan.regions.size(), block->scopes.size());
  for (const PlanStep& step : plan.step) {
    const bool inside = step.scope.find("transformer_blocks") != std::string::npos;
    if (step.op == Op::geglu_linear) {
      EXPECT_TRUE(inside);
    }
    if (step.op == Op::group_norm) {
      EXPECT_FALSE(step.attrs.has("act")) << "what lies around the regions is eager: " << step.scope;
    }
  }
  EXPECT_EQ(std::ranges::count(plan.step, Op::geglu, &PlanStep::op), 0) << "inside, the gate is fused";
}

TEST(Regions, ResultsAreThoseOfEager) {
  const auto item = case_named("unet_sdxl");
  const auto run = [&](const CompileOptions& options) {
    auto [graph, inputs] = golden::make_component(item, DType::float32);
    return golden::run(std::move(graph), cpu::backend(), options, inputs, "", 0).at("sample");
  };
  const Tensor eager = run({});
  const double tolerance = 5 * std::sqrt(10.0 * 1000) * 0x1p-24;  // as in plan_test
  for (const char* classes : {"BasicTransformerBlock", "ResnetBlock2D", "auto"}) {
    const Tensor other = run(regional(classes));
    for (int64_t i = 0; i < eager.numel(); ++i) ASSERT_NEAR(eager.floats()[i], other.floats()[i], tolerance) << classes;
  }
}

TEST(Regions, AutomaticRegionsRepeat) {
  std::vector<PlanRegion> found;
  int compiled = 0;
  compile_regions(unet(), {"auto"}, [&](Graph region) { return ++compiled, region; }, found);
  EXPECT_EQ(compiled, static_cast<int>(found.size()));
  for (const PlanRegion& region : found) EXPECT_GE(region.occurrences, 2);
}

TEST(Regions, PassesThatDoNothingChangeNothing) {
  std::vector<PlanRegion> found;
  Graph before = unet();
  before.normalize();
  EXPECT_EQ(print(compile_regions(before, {"BasicTransformerBlock"}, [](Graph region) { return region; }, found)), print(before));
}

TEST(Regions, UnknownClassesAreRefused) {
  try {
    compile(unet(), cpu::backend(), regional("FluxTransformerBlock"));
    ADD_FAILURE() << "no error";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("BasicTransformerBlock"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace vivace
