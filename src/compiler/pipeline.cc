// The one list of passes. Each is named, timed, verified, and the optional ones can be switched off.
#include <algorithm>
#include <chrono>
#include <set>

#include "base/log.h"
#include "base/seconds.h"
#include "compiler/compile.h"
#include "compiler/regions.h"
#include "ops/infer.h"
#include "passes/passes.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// When an optional pass runs.
using When = bool (*)(const CompileOptions&);

bool compiled(const CompileOptions& options) { return options.mode != CompileMode::off; }
bool compiled_or_fuse_qkv(const CompileOptions& options) { return compiled(options) || options.fuse_qkv; }
// Where more rounding error is allowed.
bool inexact(const CompileOptions& options) { return is_max_autotune(options.mode) && !options.error_budget.empty(); }
void note_budgets(Graph& graph, const CompileOptions& options) {
  if (inexact(options)) note_error_budget(graph, options);
}
bool below_highest(const CompileOptions& options) { return options.float32_matmul_precision != MatmulPrecision::highest; }

// A pass, with or without a look at the options and the target.
struct PassFunction {
  PassFunction(void (*f)(Graph&)) : plain(f) {}
  PassFunction(void (*f)(Graph&, const CompileOptions&)) : configured(f) {}
  PassFunction(void (*f)(Graph&, const Target&)) : targeted(f) {}
  PassFunction(void (*f)(Graph&, const CompileOptions&, const Target&)) : both(f) {}
  void operator()(Graph& graph, const CompileOptions& options, const Target& target) const {
    if (plain) plain(graph);
    if (configured) configured(graph, options);
    if (targeted) targeted(graph, target);
    if (both) both(graph, options, target);
  }
  void (*plain)(Graph&) = nullptr;
  void (*configured)(Graph&, const CompileOptions&) = nullptr;
  void (*targeted)(Graph&, const Target&) = nullptr;
  void (*both)(Graph&, const CompileOptions&, const Target&) = nullptr;
};

struct Pass {
  PassInfo info;
  PassFunction run;
  When when = compiled;
  bool CompilerFlags::*flag = nullptr;  // the flag without which it does not run
  bool whole = false;                   // looks at the graph around compiled regions too, which is eager otherwise
};

void apply_matmul_precision(Graph& graph, const CompileOptions& options) { lower_matmul_precision(graph, options.float32_matmul_precision); }

bool applies(const Pass& pass, const CompileOptions& options) {
  if (!pass.info.optional) return true;
  if (std::ranges::count(options.disable_passes, pass.info.name)) return false;
  if (pass.flag && !(options.flags.*pass.flag)) return false;
  return pass.when(options);
}

const std::vector<Pass>& passes() {
  constexpr bool kRequired = false, kOptional = true;
  static const std::vector<Pass> list{
      {{"cse", "equal nodes become one", kRequired}, eliminate_common_subexpressions},
      {{"fold_constants", "casts, views and scalings that undo or extend one another", kOptional}, fold_constants},
      {{"conv_1x1_as_mm", "1x1 convolutions are GEMMs (the compiler flag of that name)", kOptional},
       conv_1x1_as_mm,
       compiled,
       &CompilerFlags::conv_1x1_as_mm},
      {{"quantize", "8-bit weights and products where options.quantize says so", kRequired}, quantize},
      {{"keep_blocks", "linears read weights in blocks as they are stored", kRequired}, keep_blocks},
      {{"note_error_budget", "what options.error_budget says of single layers", kRequired}, note_budgets},
      {{"fuse_projections", "Q, K, V (and K, V) are one GEMM", kOptional}, fuse_projections, compiled_or_fuse_qkv},
      {{"fuse_geglu", "the gate of GEGLU in the GEMM's epilogue", kOptional}, fuse_geglu, compiled, &CompilerFlags::epilogue_fusion},
      {{"fuse_gated_linears", "act(linear) * linear of one input is one GEMM", kOptional},
       fuse_gated_linears,
       compiled,
       &CompilerFlags::epilogue_fusion},
      {{"fuse_modulation", "LayerNorm and its scale and shift of each image in one trip", kOptional}, fuse_modulation},
      {{"fuse_rotary", "RMSNorm of heads and their rotation to their place in one trip", kOptional}, fuse_rotary},
      {{"fuse_upsample_convolution", "nearest 2x + 3x3 convolution with less arithmetic", kOptional}, fuse_upsample_convolution},
      {{"fuse_norm_activation", "GroupNorm and SiLU in one trip", kOptional}, fuse_norm_activation},
      {{"fuse_epilogues", "time embedding, activation, gate and residual in the epilogue of GEMM and convolution", kOptional},
       fuse_epilogues,
       compiled,
       &CompilerFlags::epilogue_fusion},
      {{"lower_matmul_precision", "float32 products as float32_matmul_precision allows", kOptional}, apply_matmul_precision, below_highest},
      {{"allow_winograd", "3x3 convolutions may run as Winograd within the error budget (max-autotune)", kOptional}, allow_winograd, inexact},
      {{"allow_strassen", "GEMMs may run by Strassen's algorithm within the error budget (max-autotune)", kOptional}, allow_strassen, inexact},
      {{"allow_int16", "GEMMs may form products of int16 within the error budget (max-autotune)", kOptional}, allow_int16, inexact},
      {{"fuse_elementwise", "chains of elementwise ops are one loop", kOptional}, fuse_elementwise},
      {{"fuse_quantize", "activations are quantised where they are made, or once for several readers", kOptional}, fuse_quantize},
      {{"join_concats", "the parts of a concat are written straight into its buffer", kOptional}, join_concats},
      {{"float32_operands", "biases and norm weights are float32", kRequired}, float32_operands},
      {{"assign_phases", "what depends on weights alone is prepared", kRequired}, assign_phases},
      {{"hoist_step_invariant", "what depends on no step input runs once a prompt", kOptional}, hoist_step_invariant, compiled, nullptr, true},
      {{"schedule_time_embedding", "time MLP and projections run once for all timesteps", kOptional},
       schedule_time_embedding,
       compiled,
       nullptr,
       true},
  };
  return list;
}

// The graph with its regions compiled; everything that is no region is as it was.
Graph with_regions(Graph graph, const CompileOptions& options, const Target& target, PassReport* report) {
  // What the options say of layers is read while these have their names.
  quantize(graph, options);
  note_budgets(graph, options);
  CompileOptions inside = options;
  inside.regions.clear();
  // Inside they begin at the region, where "proj_out" is another layer.
  inside.quantize.clear();
  inside.error_budget.layers.clear();
  std::vector<PlanRegion> found;
  const auto begin = std::chrono::steady_clock::now();
  graph = compile_regions(
      std::move(graph), options.regions, [&](Graph region) { return run_passes(std::move(region), inside, target); }, found);
  const double taken = seconds_since(begin);
  verify(graph, GraphStage::compiling);
  if (!report) return graph;
  report->seconds.emplace_back("regions", taken);
  report->regions = std::move(found);
  return graph;
}

}  // namespace

const std::vector<PassInfo>& pass_list() {
  static const std::vector<PassInfo> infos = [] {
    std::vector<PassInfo> result;
    for (const Pass& pass : passes()) result.push_back(pass.info);
    return result;
  }();
  return infos;
}

bool runs_pass(std::string_view name, const CompileOptions& options) {
  const auto pass = std::ranges::find(passes(), name, [](const Pass& p) { return p.info.name; });
  if (pass == passes().end()) throw InternalError(cat("there is no pass \"", name, "\""));
  return applies(*pass, options) && (pass->whole || options.regions.empty());
}

Graph run_passes(Graph graph, const CompileOptions& options, const Target& target, PassReport* report,
                 const std::function<void(std::string_view, const Graph&)>& dump) {
  for (const std::string& name : options.disable_passes)
    if (std::ranges::none_of(passes(), [&](const Pass& p) { return p.info.optional && p.info.name == name; }))
      throw UsageError("no optional pass is called \"" + name + "\": see `vivace explain --passes`");
  verify(graph, GraphStage::compiling);
  CompileOptions around = options;
  if (!options.regions.empty()) {
    if (options.mode == CompileMode::off) throw UsageError("regions are to be compiled, and the mode is off: expected another mode");
    graph = with_regions(std::move(graph), options, target, report);
    around.mode = CompileMode::off;
  }
  for (const Pass& pass : passes()) {
    const CompileOptions& own = pass.whole ? options : around;
    if (!applies(pass, own)) continue;
    const auto before = std::chrono::steady_clock::now();
    pass.run(graph, own, target);
    const double taken = seconds_since(before);
    if (report) report->seconds.emplace_back(pass.info.name, taken);
    try {
      verify(graph, GraphStage::compiling);
    } catch (const InternalError& error) {
      throw InternalError(cat("after pass ", pass.info.name, ": ", error.what()));
    }
    if (dump) dump(pass.info.name, graph);
  }
  return graph;
}

}  // namespace vivace
