#include <algorithm>
#include <set>

#include "base/files.h"
#include "base/joined.h"
#include "base/log.h"
#include "commands.h"
#include "options.h"
#include "pipelines/loaded.h"
#include "progress.h"
#include "vivace/error.h"

namespace vivace::cli {
namespace {

// "1e-5", "mid_block.resnets.0.conv1=0".
ErrorBudget parse_error_budget(const std::vector<std::string>& texts) {
  ErrorBudget budget;
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    const double error = parse_number<double>(text.substr(equals == std::string::npos ? 0 : equals + 1), "--error-budget");
    if (error < 0 || equals == 0)
      throw UsageError(cat("--error-budget is ", text, ": expected 0 or more, such as 1e-5, or LAYER=1e-3, such as mid_block.resnets.0.conv1=1e-3"));
    if (equals == std::string::npos)
      budget.each_layer = error;
    else
      budget.layers[text.substr(0, equals)] = error;
  }
  return budget;
}

struct ModeFor {
  CompileMode mode;
  std::string component;  // "" for those that are not named
};

// "max-autotune:unet,vae.decode" is two of them.
std::vector<ModeFor> parse_modes(const std::vector<std::string>& texts) {
  std::vector<ModeFor> result;
  for (const std::string& text : texts) {
    const size_t colon = text.find(':');
    const CompileMode mode = parse_compile_mode(text.substr(0, colon));
    if (colon == std::string::npos) result.push_back({mode, ""});
    for (size_t begin = colon == std::string::npos ? std::string::npos : colon + 1; begin != std::string::npos;) {
      const size_t comma = text.find(',', begin);
      result.push_back({mode, text.substr(begin, comma == std::string::npos ? comma : comma - begin)});
      if (std::ranges::count(component_names(), result.back().component) == 0)
        throw UsageError(
            cat("--compile ", text, ": unknown component \"", result.back().component, "\": expected one of ", joined(component_names())));
      begin = comma == std::string::npos ? comma : comma + 1;
    }
  }
  return result;
}

bool compiles(const CompileFlags& flags) {
  return std::ranges::any_of(parse_modes(flags.modes), [](const ModeFor& m) { return m.mode != CompileMode::off; });
}
bool measures(const CompileFlags& flags) {
  return std::ranges::any_of(parse_modes(flags.modes), [](const ModeFor& m) { return is_max_autotune(m.mode); });
}
bool quantizes_any(const CompileFlags& flags) { return !flags.quantize.empty(); }
bool is_given(const CompileFlags& flags, std::string_view compiler_flag) {
  return std::ranges::any_of(flags.compiler_flags, [&](const std::string& given) { return given.substr(0, given.find('=')) == compiler_flag; });
}

// An option that changes nothing without another.
struct Dependence {
  const char *option, *needs;
  bool (*given)(const CompileFlags&);
  bool (*counts)(const CompileFlags&);
};

constexpr const char *kCompile = "--compile with a mode other than off", *kMeasure = "--compile max-autotune", *kQuantize = "--quantize";

constexpr Dependence kDependences[] = {
    {"--regional", kCompile, [](const CompileFlags& f) { return !f.regional.empty(); }, compiles},
    {"--fullgraph", kCompile, [](const CompileFlags& f) { return f.fullgraph; }, compiles},
    {"--disable-pass", "--compile with a mode other than off, --fuse-qkv or --float32-matmul-precision",
     [](const CompileFlags& f) { return !f.disable_passes.empty(); },
     [](const CompileFlags& f) { return compiles(f) || f.fuse_qkv || f.matmul_precision != "highest"; }},
    {"--compiler-flag conv_1x1_as_mm", kCompile, [](const CompileFlags& f) { return is_given(f, "conv_1x1_as_mm"); }, compiles},
    {"--compiler-flag epilogue_fusion", kCompile, [](const CompileFlags& f) { return is_given(f, "epilogue_fusion"); }, compiles},
    {"--compiler-flag coordinate_descent_tuning", kMeasure, [](const CompileFlags& f) { return is_given(f, "coordinate_descent_tuning"); }, measures},
    {"--compiler-flag coordinate_descent_check_all_directions", "--compiler-flag coordinate_descent_tuning=true",
     [](const CompileFlags& f) { return is_given(f, "coordinate_descent_check_all_directions"); },
     [](const CompileFlags& f) { return is_given(f, "coordinate_descent_tuning"); }},
    {"--error-budget", kMeasure, [](const CompileFlags& f) { return !f.error_budget.empty(); }, measures},
    {"--autotune-seconds", kMeasure, [](const CompileFlags& f) { return f.autotune_seconds.has_value(); }, measures},
    {"--no-duck-shape", "--dynamic", [](const CompileFlags& f) { return f.no_duck_shape; }, [](const CompileFlags& f) { return f.dynamic; }},
    {"--quantize-component", kQuantize, [](const CompileFlags& f) { return !f.quantize_component.empty(); }, quantizes_any},
    {"--quantize-filter", kQuantize, [](const CompileFlags& f) { return !f.quantize_filter.empty(); }, quantizes_any},
    {"--quantize-export", kQuantize, [](const CompileFlags& f) { return !f.quantize_export.empty(); }, quantizes_any},
};

}  // namespace

void CompileFlags::add(Arguments& app) {
  app.group(Group::speed);
  app.add_option("--compile", modes,
                 "off, default, reduce-overhead, max-autotune, max-autotune-no-cudagraphs; for the denoiser and the vae, or MODE:COMPONENTS as in "
                 "max-autotune:unet,vae.decode (unet, transformer, vae, vae.decode, vae.encode, text_encoder, text_encoder_2); may be given several "
                 "times");
  app.add_option(
         "--regional", regional,
         "Compile each kind of the denoiser's repeated blocks once and leave the rest eager; --regional=auto: whatever repeats, in each component")
      .implies("blocks");
  app.add_flag("--fullgraph", fullgraph, "A graph break is an error");
  app.add_option(
      "--error-budget", error_budget,
      "The largest relative error that a layer may have by a faster algorithm in max-autotune (Winograd, Strassen, products of int16): 0 for "
      "none, 1e-5, or LAYER=1e-3 of one alone; default: 2e-6 in fp32, else what the dtype's rounding hides; may be given several times");
  app.add_flag("--dynamic", dynamic, "One plan for all sizes instead of one a size");
  app.add_flag("--no-duck-shape", no_duck_shape, "With --dynamic: sizes that are equal in the first call may differ in the next");
  app.add_flag("--fuse-qkv", fuse_qkv, "Q, K, V (and K, V) of an attention as one GEMM, without --compile too");
  app.add_option("--disable-pass", disable_passes, "Leave out an optional pass (see explain --passes); may be given several times");
  app.add_option("--compiler-flag", compiler_flags,
                 "A flag of the compiler, name=true or name=false, such as coordinate_descent_tuning=true; may be given several times");
  app.add_option("--autotune-seconds", autotune_seconds,
                 "The most that max-autotune may spend on timing kernels, a component and size (60; explain and info: 0); 0: no timing");
  app.add_option("--sdpa", sdpa, "Attention backend: auto (flash, efficient, math), one of these, int8, or several with commas").show_default();
  app.add_option("--float32-matmul-precision", matmul_precision,
                 "highest, high (bf16x3, or int16 with the error of TF32) or medium (bf16, or the same int16), where those are faster")
      .show_default();
  add_quantize(app);
  app.add_option("--quantize-component", quantize_component,
                 "A component that --quantize is for, such as transformer or text_encoder_2; may be given several times; default: the denoiser");
}

void CompileFlags::add_quantize(Arguments& app) {
  app.group(Group::memory);
  Option& kind = app.add_option("--quantize", quantize,
                                "Linear layers in 8 bits: int8-dynamic, int8-dynamic-rotated, float8-dynamic, int8-weight-only, float8-weight-only");
  Option& filter = app.add_option("--quantize-filter", quantize_filter,
                                  cat("Which of them: measured, all, dynamic_quant_filter_fn, transformer_quant_filter_fn, a file of names, or terms "
                                      "such as in>=640,name~attn1",
                                      quantize_filter.empty() ? "; default: measured for int8-dynamic, rotated or not, else all" : ""));
  if (!quantize.empty()) kind.show_default();
  if (!quantize_filter.empty()) filter.show_default();
  app.add_option("--quantize-export", quantize_export, "File for the names of the layers chosen, which --quantize-filter takes");
}

LayerQuantization CompileFlags::quantization(const Graph& graph, const CompileOptions& options, const WeightStack* weights, DType dtype,
                                             const ComponentCache* cache) const {
  const Quantization kind = parse_quantization(quantize);
  const std::string filter = !quantize_filter.empty() ? quantize_filter : multiplies_int8(kind) ? "measured" : "all";
  LayerQuantization layers = choose_layers(
      graph, options, kind, filter == "measured" ? measured_filter(graph, options, weights, dtype, kind, cache) : parse_quantize_filter(filter));
  if (quantize_export.empty()) return layers;
  std::string text = cat("# ", quantize, ", filter ", filter, '\n');
  for (const auto& [name, chosen] : layers) text += name + '\n';
  write_file(quantize_export, text);
  return layers;
}

bool CompileFlags::quantizes(std::string_view component, bool denoiser) const {
  return !quantize.empty() && (quantize_component.empty() ? denoiser : std::ranges::count(quantize_component, component) > 0);
}

void CompileFlags::apply(DiffusionPipeline& pipe, const CallOptions& call) const {
  const std::string denoiser(denoiser_of(*pipe.loaded().family));
  compile_blocks(pipe.model(denoiser), denoiser);
  if (!quantize.empty()) quantize_components(pipe, call);
}

void CompileFlags::quantize_components(DiffusionPipeline& pipe, const CallOptions& call) const {
  const Recipe& recipe = *pipe.loaded().recipe;
  std::set<std::string, std::less<>> done;
  for (const SessionNeed& need : recipe.sessions_for(recipe.resolve("", call))) {
    const std::string name(need.part);
    if (!quantizes(name, need.stage == Stage::denoise) || !done.insert(name).second) continue;
    Component& component = pipe.model(name).component();
    component.quantize(quantization(component.graph(need.request), options(name), &component.weights(), component.dtype(), &component.cache()));
  }
  for (const std::string& name : quantize_component)
    if (!done.contains(name)) throw UsageError(cat("--quantize-component is \"", name, "\": no part of this call is called so"));
}

CompileOptions CompileFlags::options(const std::string& component) const {
  CompileOptions o{.fullgraph = fullgraph,
                   .disable_passes = disable_passes,
                   .sdpa = parse_sdp_backends(sdpa),
                   .error_budget = parse_error_budget(error_budget),
                   .dynamic = dynamic,
                   .use_duck_shape = !no_duck_shape,
                   .fuse_qkv = fuse_qkv,
                   .float32_matmul_precision = parse_matmul_precision(matmul_precision),
                   .on_autotune = show_autotuning};
  if (autotune_seconds) o.autotune_seconds = *autotune_seconds;
  if (!(o.autotune_seconds >= 0)) throw UsageError(cat("--autotune-seconds is ", o.autotune_seconds, ": expected 0 or more"));
  for (const std::string& flag : compiler_flags) set_compiler_flag(o.flags, flag);
  if (!regional.empty() && regional != "blocks" && regional != "auto")
    throw UsageError(cat("--regional is \"", regional, "\": expected --regional or --regional=auto"));
  for (const Dependence& d : kDependences)
    if (d.given(*this) && !d.counts(*this)) throw UsageError(cat(d.option, " changes nothing without ", d.needs));
  size_t best = 0;  // the longest name that fits: "vae.decode" before "vae" before none
  for (const ModeFor& given : parse_modes(modes)) {
    if (given.component != component && !component.starts_with(given.component + '.') && !given.component.empty()) continue;
    if (given.component.size() >= best) o.mode = given.mode, best = given.component.size();
  }
  if (o.mode == CompileMode::off) return o;
  if (regional == "auto") o.regions = {"auto"};
  return o;
}

CompileOptions CompileFlags::options() const { return options(""); }

std::map<std::string, CompileOptions> CompileFlags::named() const {
  std::map<std::string, CompileOptions> result;
  for (const ModeFor& given : parse_modes(modes))
    if (!given.component.empty()) result[given.component] = options(given.component);
  return result;
}

void CompileFlags::compile_blocks(Model& denoiser, const std::string& name) const {
  if (regional != "blocks") return;
  const CompileOptions own = options(name);
  if (own.mode == CompileMode::off) throw UsageError(cat("--regional compiles blocks of the ", name, ", and --compile leaves that off"));
  denoiser.compile_repeated_blocks(own);
}

}  // namespace vivace::cli
