// Regional compilation: every kind of block once, the same numbers, and an eager graph around the regions.
#include "compiler/regions.h"

#include <map>
#include <set>

#include "../models/components.h"
#include "backends/cpu/device.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "compiler/compile.h"
#include "compiler/tuning_store.h"
#include "runtime/session.h"
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
  const Plan plan = compile(unet(), *cpu::device(), regional("BasicTransformerBlock"));
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

TEST(Regions, BlocksAreWhatTheirModelsCallThem) {
  const auto classes = [](const char* name) {
    std::map<std::string, size_t> found;
    for (const RepeatedBlock& block : repeated_blocks(golden::make_component(case_named(name), DType::float32).graph))
      found[block.class_name] = block.scopes.size();
    return found;
  };
  using Found = std::map<std::string, size_t>;
  EXPECT_EQ(classes("flux_dev"), (Found{{"FluxTransformerBlock", 2}, {"FluxSingleTransformerBlock", 2}}));
  EXPECT_EQ(classes("aura_flow_odd_patches"), (Found{{"AuraFlowJointTransformerBlock", 2}, {"AuraFlowSingleTransformerBlock", 2}}));
  EXPECT_EQ(classes("cogvideox_2b"), (Found{{"CogVideoXBlock", 2}}));
  EXPECT_EQ(classes("t5_long"), (Found{{"T5Block", 3}}));
  EXPECT_EQ(classes("tiny_vae_decode"), (Found{{"AutoencoderTinyBlock", 5}}));
  EXPECT_TRUE(classes("unet_sdxl").contains("BasicTransformerBlock"));
  EXPECT_FALSE(classes("unet_sdxl").contains("FluxTransformerBlock"));
}

// The blocks of full-size SDXL, all 70 of them, as narrow as they get.
Graph narrow_sdxl() {
  const std::string path = std::string(VIVACE_SOURCE_DIR) + "/assets/configs/sdxl-base/unet/config.json";
  nlohmann::json config = strict_json(read_file(path));
  config.update({{"block_out_channels", {32, 64, 128}},
                 {"attention_head_dim", {1, 2, 4}},
                 {"cross_attention_dim", 64},
                 {"addition_time_embed_dim", 8},
                 {"projection_class_embeddings_input_dim", 112}});
  return build_unet(read_unet_config(Config::parse(json_text(config), path)), {1, 8, 8, 5, 1, 6}, Builder(DType::float32));
}

TEST(Regions, AutotuningThemCostsAnEighthOfEveryOccurrenceAtTheSameChoices) {
  TuningStore store;
  CompileOptions options{.mode = CompileMode::max_autotune, .autotune_seconds = 30};
  options.regions = {"BasicTransformerBlock"};
  Request request;
  const Plan plan = compile(narrow_sdxl(), *cpu::device(), options, &store, &request);
  const int64_t timed = request.counters.settings_timed;
  EXPECT_EQ(timed, plan.autotuning.settings);
  EXPECT_GT(plan.autotuning.timed, 5);
  EXPECT_EQ(plan.autotuning.timed, plan.autotuning.different_calls);
  EXPECT_LE(8 * timed, plan.autotuning.settings_each_call);
  // Every occurrence of a kind runs what was found for the one.
  const auto choices = [](const Plan& of, const std::string& scope) {
    std::vector<std::string> list;
    for (const PlanStep& step : of.step)
      if (step.scope.starts_with(scope + '.'))
        list.push_back(cat(op_name(step.op), ' ', step.scope.substr(scope.size()), ' ', step.kernel, ' ', step.tuning));
    return list;
  };
  const auto blocks = repeated_blocks(narrow_sdxl());
  const auto block = std::ranges::find(blocks, "BasicTransformerBlock", &RepeatedBlock::class_name);
  ASSERT_NE(block, blocks.end());
  ASSERT_EQ(block->scopes.size(), 70u);
  std::set<std::vector<std::string>> different;
  for (const std::string& scope : block->scopes) different.insert(choices(plan, scope));
  EXPECT_LE(different.size(), plan.regions.size()) << "two kinds may happen to choose alike";
  // And a plan of the whole graph chooses no other kernels for them.
  options.regions.clear();
  options.autotune_seconds = 0;
  const Plan whole = compile(narrow_sdxl(), *cpu::device(), options, &store);
  for (const std::string& scope : block->scopes) EXPECT_EQ(choices(whole, scope), choices(plan, scope)) << scope;
}

TEST(Regions, ResultsAreThoseOfEager) {
  const auto item = case_named("unet_sdxl");
  const auto run = [&](const CompileOptions& options) {
    auto [graph, inputs] = golden::make_component(item, DType::float32);
    return golden::run(std::move(graph), cpu::device(), options, inputs, "", 0).at("sample");
  };
  const Tensor eager = run({});
  const double tolerance = 5 * std::sqrt(10.0 * 1000) * 0x1p-24;  // as in plan_test
  for (const char* classes : {"BasicTransformerBlock", "ResnetBlock2D", "auto"}) {
    const Tensor other = run(regional(classes));
    for (int64_t i = 0; i < eager.numel(); ++i) ASSERT_NEAR(eager.floats()[i], other.floats()[i], tolerance) << classes;
  }
}

TEST(Regions, WhatOptionsSayOfLayersHolds) {
  CompileOptions options = regional("BasicTransformerBlock");
  const std::string layer = "mid_block.attentions.0.transformer_blocks.0.ff.net.2";
  options.quantize[layer] = Quantization::int8_dynamic;
  const Plan plan = compile(unet(), *cpu::device(), options);
  int quantised = 0;
  for (const PlanStep& step : plan.step) {
    if (step.op != Op::linear) continue;
    EXPECT_EQ(step.attrs.text("compute") == "int8_dynamic", step.scope == layer) << step.scope;
    quantised += step.scope == layer;
  }
  EXPECT_EQ(quantised, 1);
  CompileOptions winograd{.mode = CompileMode::max_autotune, .autotune_seconds = 0};
  winograd.regions = {"ResnetBlock2D"};
  const std::string convolution = "mid_block.resnets.0.conv1";
  winograd.error_budget.layers = {{convolution, 0}};
  int free = 0;
  for (const PlanStep& step : compile(unet(), *cpu::device(), winograd).step) {
    const bool may = step.attrs.real("winograd_error") > 0;
    EXPECT_FALSE(may && (step.scope == convolution || step.scope.find("resnets") == std::string::npos))
        << step.scope << " is named, or lies around the regions";
    free += may;
  }
  EXPECT_GT(free, 0);
}

// FLUX has a "proj_out" of its own, and one in each single block.
TEST(Regions, ALayersNameIsNotThatOfALayerInARegion) {
  const auto scopes = [](const CompileOptions& options, const auto& holds) {
    std::set<std::string> found;
    for (const PlanStep& step : compile(golden::make_component(case_named("flux_dev"), DType::float32).graph, *cpu::device(), options).step)
      if (holds(step)) found.insert(step.scope);
    return found;
  };
  CompileOptions options = regional("FluxSingleTransformerBlock");
  options.quantize["proj_out"] = Quantization::int8_dynamic;
  EXPECT_EQ(scopes(options, [](const PlanStep& step) { return step.attrs.has("compute"); }), (std::set<std::string>{"proj_out"}));
  options.quantize.clear();
  options.mode = CompileMode::max_autotune;
  options.autotune_seconds = 0;
  options.error_budget.layers = {{"proj_out", 0.25}};
  EXPECT_EQ(scopes(options, [](const PlanStep& step) { return step.attrs.real("strassen_error") == 0.25; }), (std::set<std::string>{"proj_out"}));
}

// A shortcut is a convolution of 1x1, which is a linear layer in the region.
TEST(Regions, TheBudgetOfAShortcutHolds) {
  CompileOptions options{.mode = CompileMode::max_autotune, .autotune_seconds = 0};
  options.regions = {"ResnetBlock2D"};
  options.flags.conv_1x1_as_mm = true;
  const std::string shortcut = "up_blocks.0.resnets.0.conv_shortcut";
  options.error_budget.layers = {{shortcut, 0}};
  int found = 0;
  for (const PlanStep& step : compile(unet(), *cpu::device(), options).step) {
    if (step.scope != shortcut || step.op != Op::linear) continue;
    ++found;
    EXPECT_EQ(step.attrs.real("strassen_error", 1), 0);
    EXPECT_EQ(step.attrs.real("int16_error", 1), 0);
  }
  EXPECT_EQ(found, 1);
}

TEST(Regions, FullgraphAsksForNothingOutsideOfThem) {
  // The CPU has no kernel of its own for a transposition: one before two layers, or one in each of them.
  const auto build = [](bool inside) {
    Builder b(DType::float32);
    Value x = b.input("x", DType::float32, {1, 16, 16});
    if (!inside) x = b.transpose(x, {0, 2, 1});
    for (const char* layer : {"layers.0", "layers.1"}) {
      const auto scope = b.scope(layer, "Layer");
      if (inside) x = b.transpose(x, {0, 2, 1});
      x = b.emit(Op::linear, {x, b.weight("weight", {16, 16})});
    }
    b.output("y", x);
    return b.take();
  };
  CompileOptions options = regional("Layer");
  options.fullgraph = true;
  EXPECT_EQ(compile(build(false), *cpu::device(), options).graph_breaks.size(), 0u);
  EXPECT_THROW(compile(build(true), *cpu::device(), options), UserError);
}

TEST(Regions, WhatHasNoKernelInThemBreaksTheGraph) {
  Builder b(DType::float32);
  Value x = b.input("x", DType::float32, {1, 16, 16});
  const Value w = b.input("w", DType::float32, {16, 16});  // kernels pack their weights once, so the layers are decomposed
  for (const char* layer : {"layers.0", "layers.1"}) {
    const auto scope = b.scope(layer, "Layer");
    x = b.mul(b.emit(Op::linear, {x, w}), b.weight("weight", {16}));
  }
  b.output("y", x);
  EXPECT_EQ(compile(b.take(), *cpu::device(), regional("Layer")).graph_breaks.size(), 2u);
}

TEST(Regions, WithoutAModeTheyAreRefused) {
  CompileOptions options = regional("auto");
  options.mode = CompileMode::off;
  EXPECT_THROW(compile(unet(), *cpu::device(), options), UsageError);
}

TEST(Regions, AutomaticRegionsRepeat) {
  std::vector<PlanRegion> found;
  int compiled = 0;
  compile_regions(
      unet(), {"auto"}, [&](Graph region) { return ++compiled, region; }, found);
  EXPECT_EQ(compiled, static_cast<int>(found.size()));
  for (const PlanRegion& region : found) EXPECT_GE(region.occurrences, 2);
}

TEST(Regions, PassesThatDoNothingChangeNothing) {
  std::vector<PlanRegion> found;
  Graph before = unet();
  before.normalize();
  EXPECT_EQ(print(compile_regions(
                before, {"BasicTransformerBlock"}, [](Graph region) { return region; }, found)),
            print(before));
}

TEST(Regions, UnknownClassesAreRefused) {
  try {
    compile(unet(), *cpu::device(), regional("FluxTransformerBlock"));
    ADD_FAILURE() << "no error";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("BasicTransformerBlock"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace vivace
