// What the compile options do to plans.
#include <algorithm>

#include "../models/components.h"
#include "backends/cpu/device.h"
#include "backends/cpu/isa.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

Graph golden_graph(const char* name) {
  for (const auto& item : golden::read_cases(std::string(VIVACE_SOURCE_DIR) + "/tests/models/data"))
    if (item.at("name") == name) return golden::make_component(item, DType::float32).graph;
  throw InternalError(cat("no golden case ", name));
}

// Everything that decides what a plan does.
std::string text(const Plan& plan) {
  std::string out;
  for (const PlanValue& v : plan.values)
    out += cat(dtype_name(v.type.dtype), to_string(v.type.shape), ' ', static_cast<int>(v.where), ' ', v.offset, ' ', v.pitch, ' ', v.inside, ' ',
               v.shift, ' ', v.key, '\n');
  for (const auto* program : {&plan.prepare, &plan.setup, &plan.step})
    for (const PlanStep& step : *program) {
      out += cat(step.kernel, '(', print_attrs(step.attrs), ')');
      for (int32_t in : step.in) out += cat(' ', in);
      out += cat(" -> ", step.out, '\n');
    }
  return out;
}

int ops_of(const Plan& plan, Op op, std::string_view scope = "") {
  int n = 0;
  for (const auto* program : {&plan.setup, &plan.step})
    for (const PlanStep& step : *program) n += step.op == op && step.scope.find(scope) != std::string::npos;
  return n;
}

TEST(Options, FuseQkvIsTheCompilersOwnFusion) {
  for (const char* name : {"unet_sdxl", "vae_four_levels_decode", "vae_four_levels_encode"}) {
    CompileOptions only_projections{.mode = CompileMode::default_};
    for (const PassInfo& pass : pass_list())
      if (pass.optional && pass.name != "fuse_projections") only_projections.disable_passes.emplace_back(pass.name);
    const Plan eager = compile(golden_graph(name), *cpu::device(), {});
    const Plan fused = compile(golden_graph(name), *cpu::device(), {.fuse_qkv = true});
    EXPECT_EQ(text(fused), text(compile(golden_graph(name), *cpu::device(), only_projections))) << name;
    EXPECT_EQ(text(compile(golden_graph(name), *cpu::device(), {.mode = CompileMode::default_, .fuse_qkv = true})),
              text(compile(golden_graph(name), *cpu::device(), {.mode = CompileMode::default_})));
    // Self-attention loses two GEMMs, cross-attention one.
    const int attentions = ops_of(eager, Op::attention), cross = ops_of(eager, Op::attention, "attn2");
    EXPECT_GT(attentions, 0);
    EXPECT_EQ(ops_of(eager, Op::linear) - ops_of(fused, Op::linear), 2 * (attentions - cross) + cross) << name;
    EXPECT_EQ(ops_of(fused, Op::slice), 0) << "the slices are copies";
  }
}

TEST(ErrorBudget, BoundsWinograd) {
  if (cpu::isa() < cpu::Isa::avx2) GTEST_SKIP() << "no Winograd below AVX2";
  CompileOptions options{.mode = CompileMode::max_autotune, .autotune_seconds = 0};
  const auto plan = [&] { return compile(golden_graph("unet_sdxl"), *cpu::device(), options); };
  const auto chosen = [&](const Plan& of, std::string_view kernel) {
    return std::ranges::count_if(of.step, [&](const PlanStep& step) { return step.kernel.find(kernel) != std::string::npos; });
  };
  const auto refused = [&](const Plan& of) {
    return std::ranges::count_if(of.step, [&](const PlanStep& step) {
      return std::ranges::any_of(step.refused, [](const auto& r) { return r.second.find("above the error budget") != std::string::npos; });
    });
  };
  const Plan usual = plan();
  EXPECT_GT(chosen(usual, "winograd"), 0);
  EXPECT_EQ(chosen(usual, "winograd_f4"), 0) << "not before it was timed";
  options.error_budget = 1e-9;
  const Plan bounded = plan();
  EXPECT_EQ(chosen(bounded, "winograd"), 0);
  EXPECT_GE(refused(bounded), chosen(usual, "winograd")) << "the reason is told";
  // One convolution that is worth a search of 75 ms, in which every candidate finds its turn on a busy machine too.
  options.autotune_seconds = 20;
  const Graph one = parse_graph(R"(%0 = input(name="x") : float32[1, 32, 32, 64]
%1 = weight(name="w") : float32[64, 64, 3, 3] @prepare
%2 = conv2d(%0, %1, padding=[1, 1, 1, 1], stride=1) : float32[1, 32, 32, 64]
return y=%2
)");
  const auto times_f4 = [&](double error) {
    options.error_budget = error;
    const Plan timed = compile(one, *cpu::device(), options);
    return std::ranges::any_of(timed.step, [](const PlanStep& step) {
      return std::ranges::any_of(step.measured, [](const PlanCandidate& c) { return c.kernel.find("winograd_f4") != std::string::npos; });
    });
  };
  EXPECT_TRUE(times_f4(1e-4));
  EXPECT_FALSE(times_f4(1e-7)) << "2e-7 times the square root of the channels";
}

TEST(ErrorBudget, BoundsStrassensAlgorithm) {
  if (cpu::isa() < cpu::Isa::avx2 || cpu::isa() >= cpu::Isa::avx512_bf16)
    GTEST_SKIP() << "bfloat16 layers are float32 products on AVX2 and AVX-512 alone";
  const Graph graph = parse_graph(R"(%0 = input(name="x") : bfloat16[256, 64]
%1 = weight(name="w") : bfloat16[64, 64] @prepare
%2 = linear(%0, %1) : bfloat16[256, 64]
%3 = geglu_linear(%2, %1) : bfloat16[256, 32]
return y=%3
)");
  CompileOptions options{.mode = CompileMode::max_autotune, .disable_passes = {"allow_int16"}, .autotune_seconds = 0};
  const auto count_of = [&](std::string_view kernel) {
    const Plan plan = compile(graph, *cpu::device(), options);
    return std::ranges::count_if(plan.step, [&](const PlanStep& step) { return step.kernel == kernel; });
  };
  EXPECT_GT(count_of("gemm_strassen"), 0);
  EXPECT_GT(count_of("gemm_geglu_strassen"), 0);
  options.error_budget = 1e-9;
  EXPECT_EQ(count_of("gemm_strassen"), 0);
  options.error_budget = 0;
  EXPECT_EQ(count_of("gemm_strassen"), 0);
  options.error_budget = {}, options.disable_passes = {"allow_strassen"};
  EXPECT_EQ(count_of("gemm_strassen"), 0);
}

TEST(ErrorBudget, BoundsProductsOfInt16) {
  if (cpu::isa() < cpu::Isa::avx2 || cpu::isa() >= cpu::Isa::amx) GTEST_SKIP() << "products of int16 need AVX2, and the tiles of AMX are faster";
  const Graph graph = parse_graph(R"(%0 = input(name="x") : bfloat16[256, 64]
%1 = weight(name="w") : bfloat16[64, 64] @prepare
%2 = linear(%0, %1) : bfloat16[256, 64]
%3 = geglu_linear(%2, %1) : bfloat16[256, 32]
%4 = input(name="y") : float32[256, 64]
%5 = linear(%4, %1) : float32[256, 64]
%6 = input(name="q") : bfloat16[1, 256, 64]
%7 = attention(%6, %6, %6, causal=0, heads=1, scale=0.125) : bfloat16[1, 256, 64]
%8 = attention(%6, %6, %6, causal=1, heads=1, scale=0.125) : bfloat16[1, 256, 64]
return y=%3, z=%5, a=%7, b=%8
)");
  CompileOptions options{.mode = CompileMode::max_autotune, .autotune_seconds = 0};
  const auto count = [&] {
    const Plan plan = compile(graph, *cpu::device(), options);
    return std::ranges::count_if(plan.step, [&](const PlanStep& step) { return step.kernel.ends_with("_int16"); });
  };
  const bool attends = cpu::isa() != cpu::Isa::avx512;  // without VNNI nothing is gained there
  EXPECT_EQ(count(), 2 + attends) << "bfloat16 alone";
  options.error_budget = 1e-3;
  EXPECT_EQ(count(), 3 + attends);
  options.error_budget = 1e-6;
  EXPECT_EQ(count(), 0);
  options.error_budget = 0;
  EXPECT_EQ(count(), 0);
  options.error_budget = {}, options.disable_passes = {"allow_int16"};
  EXPECT_EQ(count(), 0);
  options.disable_passes.clear(), options.mode = CompileMode::default_;
  EXPECT_EQ(count(), 0);
}

TEST(Options, Conv1x1AsMm) {
  CompileOptions options{.mode = CompileMode::default_};
  const Plan before = compile(golden_graph("unet_sd1"), *cpu::device(), options);
  options.flags.conv_1x1_as_mm = true;
  const Plan after = compile(golden_graph("unet_sd1"), *cpu::device(), options);
  const int pointwise = ops_of(before, Op::conv2d, "conv_shortcut") + ops_of(before, Op::conv2d, "proj_in") + ops_of(before, Op::conv2d, "proj_out");
  EXPECT_GT(pointwise, 4);
  EXPECT_EQ(ops_of(before, Op::conv2d) - ops_of(after, Op::conv2d), pointwise);
  EXPECT_EQ(ops_of(after, Op::linear) - ops_of(before, Op::linear), pointwise);
  EXPECT_EQ(ops_of(after, Op::add), 0) << "the residual is not in the epilogue";
  EXPECT_EQ(after.graph_breaks.size(), 0u);
}

TEST(Options, MatmulPrecisionIsLoweredWhereThatIsFaster) {
  for (const auto& [precision, name] :
       {std::pair{MatmulPrecision::highest, ""}, {MatmulPrecision::high, "high"}, {MatmulPrecision::medium, "medium"}}) {
    const Plan plan = compile(golden_graph("unet_sdxl"), *cpu::device(), {.float32_matmul_precision = precision});
    int linears = 0, int16 = 0;
    for (const PlanStep& step : plan.step) {
      if (step.op != Op::linear) continue;
      ++linears, int16 += step.kernel == "gemm_int16";
      EXPECT_EQ(step.attrs.text("matmul_precision"), name) << step.scope;
    }
    EXPECT_GT(linears, 10);
    const bool multiplies_int16 = cpu::isa() >= cpu::Isa::avx2 && cpu::isa() < cpu::Isa::amx;
    EXPECT_EQ(int16, multiplies_int16 && precision != MatmulPrecision::highest ? linears : 0) << name;
  }
}

TEST(Options, MatmulPrecisionOfTheProcess) {
  namespace matmul = backends::cuda::matmul;
  EXPECT_EQ(get_float32_matmul_precision(), "highest");
  EXPECT_FALSE(matmul::allow_tf32);
  matmul::allow_tf32 = true;
  EXPECT_EQ(get_float32_matmul_precision(), "high");
  EXPECT_EQ(CompileOptions{}.float32_matmul_precision, MatmulPrecision::high);
  set_float32_matmul_precision("medium");
  EXPECT_TRUE(matmul::allow_tf32);
  EXPECT_EQ(CompileOptions{}.float32_matmul_precision, MatmulPrecision::medium);
  matmul::allow_tf32 = false;
  EXPECT_EQ(get_float32_matmul_precision(), "highest");
  EXPECT_THROW(set_float32_matmul_precision("tf32"), UsageError);
}

TEST(Options, AttentionBackends) {
  EXPECT_TRUE(parse_sdp_backends("auto").all());
  EXPECT_TRUE(parse_sdp_backends("math,efficient,flash").all());
  EXPECT_EQ(parse_sdp_backends("math,efficient"), (SDPBackends{SDPBackend::efficient, SDPBackend::math}));
  EXPECT_EQ(sdp_backends_name({SDPBackend::math, SDPBackend::flash}), "flash,math");
  for (const char* wrong : {"", "flash,", "flash, math", "xformers"}) EXPECT_THROW(parse_sdp_backends(wrong), UsageError) << wrong;

  const Plan plan = compile(golden_graph("unet_sdxl"), *cpu::device(), {.sdpa = {SDPBackend::efficient, SDPBackend::math}});
  for (const PlanStep& step : plan.step)
    if (step.op == Op::attention) {
      EXPECT_NE(step.kernel, "attention_flash");
      EXPECT_NE(step.kernel, "attention_int16");
      EXPECT_EQ(step.refused.at(0).second, "not among the attention backends asked for");
    }
}

TEST(Options, ARefusedAttentionBackendSaysWhy) {
  Builder b(DType::float32);
  const Value x = b.input("x", DType::float32, {1, 4, 1040});  // one head wider than flash takes
  b.output("y", b.attention(x, x, x, {}, 1, 0.03, false));
  try {
    compile(b.take(), *cpu::device(), {.sdpa = SDPBackend::flash});
    ADD_FAILURE() << "no error";
  } catch (const UserError& error) {
    for (const char* word : {"flash", "head"}) EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
  }
}

TEST(Options, AttentionScopesNestAndEnd) {
  EXPECT_FALSE(sdpa_kernel::current());
  {
    const sdpa_kernel outer(SDPBackend::math);
    {
      const sdpa_kernel inner({SDPBackend::flash, SDPBackend::efficient});
      EXPECT_FALSE(sdpa_kernel::current()->allows(SDPBackend::math));
    }
    EXPECT_EQ(*sdpa_kernel::current(), SDPBackends(SDPBackend::math));
  }
  EXPECT_FALSE(sdpa_kernel::current());
}

TEST(Options, NoTransposeIsLeftInAnyModel) {
  // Heads are strides to the attention kernels and weights are packed transposed, so no model asks for a transposition and no pass makes one.
  for (const auto& item : golden::read_cases(std::string(VIVACE_SOURCE_DIR) + "/tests/models/data"))
    if (item.at("kind") != "block")
      for (CompileMode mode : {CompileMode::off, CompileMode::max_autotune}) {
        const Graph graph = run_passes(golden::make_component(item, DType::float32).graph, {.mode = mode}, cpu::device()->target());
        for (const Node& node : graph.nodes) EXPECT_NE(node.op, Op::transpose) << item.at("name") << ' ' << node.scope;
      }
}

}  // namespace
}  // namespace vivace
