// vivace explain: the plan of a component, step by step: which kernel runs, on what, and why the ones before it were refused.
#include <map>

#include "base/log.h"
#include "commands.h"
#include "compiler/compile.h"
#include "compiler/search_text.h"
#include "component_target.h"
#include "output.h"
#include "plan_text.h"
#include "recipes.h"

namespace vivace::cli {
namespace {

struct ExplainFlags : TargetOptions {
  bool passes = false, graph = false;
};

int list_passes(const Common& common) {
  nlohmann::json list = nlohmann::json::array();
  Table table({"pass", "runs", "what"});
  for (const PassInfo& pass : pass_list()) {
    list.push_back({{"name", pass.name}, {"what", pass.what}, {"optional", pass.optional}});
    table.add({std::string(pass.name), pass.optional ? "when compiling" : "always", std::string(pass.what)});
  }
  if (common.json)
    print_json(list);
  else
    print(table.text());
  return 0;
}

// How a dtype is computed with on this machine.
std::string arithmetic_of(DType dtype, const Target& machine) {
  const bool bf16 = machine.bfloat16_products;
  switch (dtype) {
    case DType::float16:
      return "float16 storage, float32 arithmetic";
    case DType::bfloat16:
      return cat("bfloat16 storage, ",
                 bf16 ? "bfloat16 products summed in float32" : "float32 arithmetic (bfloat16 products are missing or slower here)",
                 machine.int16_products ? ", products of int16 where the error budget allows" : "");
    default:
      return "float32 storage and arithmetic";
  }
}

// What the float32 matmul precision comes down to on this machine, and why.
std::string products(const CompileOptions& options, const Target& machine) {
  const MatmulPrecision asked = options.float32_matmul_precision;
  if (asked == MatmulPrecision::highest) return "";
  const std::string is = cat("; matmul precision ", matmul_precision_name(asked));
  if (!machine.bfloat16_products && !machine.int16_products) return is + " is float32 here: nothing narrower is faster without AVX2";
  if (machine.int16_products)
    return cat(is, ": linears as products of int16 with a scale a row, whose error is TF32's, convolutions in ",
               asked == MatmulPrecision::high ? "float32"
               : machine.bfloat16_products    ? "bfloat16"
                                              : "float32 or, as Winograd, of int16 too");
  return is + (asked == MatmulPrecision::high ? ": linears as three products of bfloat16 halves (bf16x3), convolutions in float32"
                                              : ": linears and convolutions as bfloat16 products (bf16)");
}

struct Totals {
  int steps = 0, graph_breaks = 0;
  double flops = 0;
  std::map<std::string, std::pair<int, double>> kernels;  // steps and operations
};

Totals count(const Plan& plan) {
  Totals totals;
  for (const auto* program : {&plan.setup, &plan.step})
    for (const PlanStep& step : *program) {
      ++totals.steps;
      totals.graph_breaks += is_graph_break(step);
      totals.flops += flops(plan, step);
      auto& [steps, operations] = totals.kernels[step.kernel];
      ++steps;
      operations += flops(plan, step);
    }
  return totals;
}

std::string arithmetic(DType dtype, const CompileOptions& options, const Target& machine) {
  return arithmetic_of(dtype, machine) + (dtype == DType::float32 ? products(options, machine) : "");
}

nlohmann::json explained_json(const Plan& plan, const std::vector<PlanStep>& program) {
  nlohmann::json list = nlohmann::json::array();
  for (const PlanStep& step : program) {
    nlohmann::json in = nlohmann::json::array(), refused = nlohmann::json::array();
    for (int32_t value : step.in) in.push_back(value < 0 ? nlohmann::json() : nlohmann::json(type_text(plan, value)));
    for (const auto& [kernel, reason] : step.refused) refused.push_back({{"kernel", kernel}, {"reason", reason}});
    nlohmann::json measured = nlohmann::json::array();
    for (const PlanCandidate& c : step.measured) measured.push_back({{"kernel", c.kernel}, {"tuning", c.tuning}, {"seconds", c.seconds}});
    list.push_back({{"op", op_name(step.op)},
                    {"kernel", step.kernel},
                    {"scope", step.scope},
                    {"attributes", print_attrs(step.attrs)},
                    {"in", in},
                    {"out", type_text(plan, step.out)},
                    {"flops", flops(plan, step)},
                    {"refused", refused},
                    {"pack", step.pack},
                    {"tuning", step.tuning},
                    {"measured", measured}});
  }
  return list;
}

// What a mode comes to where there are no CUDA graphs.
std::string mode_text(CompileMode mode) {
  std::string name = compile_mode_name(mode);
  if (mode == CompileMode::off) return "off: eager, the optional passes do not run";
  if (mode == CompileMode::reduce_overhead) return name + ": as default, a CPU has no CUDA graphs and the steps of a plan have no overhead to reduce";
  if (mode == CompileMode::max_autotune_no_cudagraphs) return name + ": as max-autotune, a CPU has no CUDA graphs";
  return name;
}

nlohmann::json explained_json(const PlanAutotuning& a) {
  return {{"calls", a.calls},
          {"different_calls", a.different_calls},
          {"timed", a.timed},
          {"settings", a.settings},
          {"settings_each_call", a.settings_each_call},
          {"seconds", a.seconds},
          {"seconds_each_call", a.seconds_each_call}};
}

nlohmann::json explained_json(const std::vector<PlanRegion>& regions) {
  nlohmann::json list = nlohmann::json::array();
  for (const PlanRegion& r : regions)
    list.push_back({{"scope", r.scope}, {"occurrences", r.occurrences}, {"nodes", r.nodes}, {"seconds", r.seconds}});
  return list;
}

nlohmann::json explained_json(const ComponentTarget& target, const Plan& plan, const Totals& totals) {
  nlohmann::json kernels = nlohmann::json::object(), passes = nlohmann::json::object(), sizes = nlohmann::json::object();
  for (const auto& [names, size] : symbols(plan)) sizes[names] = size;
  for (const auto& [name, entry] : totals.kernels) kernels[name] = {{"steps", entry.first}, {"flops", entry.second}};
  for (const auto& [name, seconds] : plan.pass_seconds) passes[name] = seconds;
  return {{"component", target.name()},
          {"dtype", dtype_name(target.dtype())},
          {"arithmetic", arithmetic(target.dtype(), target.compile_options(), target.device().target())},
          {"isa", target.device().target().level_name},
          {"prepare", explained_json(plan, plan.prepare)},
          {"setup", explained_json(plan, plan.setup)},
          {"step", explained_json(plan, plan.step)},
          {"kernels", kernels},
          {"flops", totals.flops},
          {"arena_bytes", plan.arena_bytes},
          {"constant_bytes", plan.constant_bytes},
          {"pass_seconds", passes},
          {"symbols", sizes},
          {"guards", guards(plan)},
          {"graph_breaks", totals.graph_breaks},
          {"break_reasons", plan.graph_breaks},
          {"mode", mode_text(target.compile_options().mode)},
          {"autotuning", explained_json(plan.autotuning)},
          {"regions", explained_json(plan.regions)}};
}

std::string program_text(const Plan& plan, const std::vector<PlanStep>& program, std::string_view name) {
  if (program.empty()) return "";
  std::string text = cat(name, ", ", program.size(), program.size() == 1 ? " step\n" : " steps\n");
  for (size_t i = 0; i < program.size(); ++i) {
    const PlanStep& step = program[i];
    const std::string attrs = print_attrs(step.attrs);
    text += cat("  ", i, "  ", op_name(step.op), attrs.empty() ? "" : "(" + attrs + ")", step.pack ? " packed for " : " by ", step.kernel,
                step.tuning.empty() ? "" : " (" + step.tuning + ")", step.scope.empty() ? "" : "  in " + step.scope, "\n     ", signature(plan, step),
                '\n');
    for (const auto& [kernel, reason] : step.refused) text += cat("     not ", kernel, ": ", reason, '\n');
    for (const PlanCandidate& c : step.measured)
      text += cat("     timed ", c.kernel, c.tuning.empty() ? " (its defaults)" : ' ' + c.tuning, ": ", fixed(c.seconds * 1e3, 3), " ms\n");
  }
  return text + '\n';
}

std::string totals_text(const ComponentTarget& target, const Plan& plan, const Totals& totals) {
  Table table({"kernel", "steps", "GFLOP"});
  for (const auto& [name, entry] : totals.kernels)
    table.add({name, std::to_string(entry.first), entry.second > 0 ? fixed(entry.second / 1e9, 3) : ""});
  std::string text = table.text() + '\n';
  text += cat(target.name(), ": ", arithmetic(target.dtype(), target.compile_options(), target.device().target()), " on ",
              target.device().target().level_name, "; ", totals.steps, " steps, ", fixed(totals.flops / 1e9, 2), " GFLOP\n");
  text += cat("activations ", bytes_text(static_cast<double>(plan.arena_bytes)), " at their peak, weights ",
              bytes_text(static_cast<double>(plan.constant_bytes)), " as prepared\n");
  text += cat("graph breaks: ", totals.graph_breaks, '\n');
  for (const std::string& reason : plan.graph_breaks) text += "  " + reason + '\n';
  text += "symbols:";
  for (const auto& [names, size] : symbols(plan)) text += cat(' ', names, " (made for ", size, ");");
  text += "\nguards:";
  for (const std::string& guard : guards(plan)) text += cat(' ', guard, ';');
  text += " every kernel accepts\n";
  text += "mode " + mode_text(target.compile_options().mode) + '\n' + search_text(plan);
  if (plan.autotuning.timed < plan.autotuning.different_calls)
    text += "kernels are timed here only with --autotune-seconds; those that never were are the list's choice\n";
  text += "passes:";
  for (const auto& [name, seconds] : plan.pass_seconds) text += cat(' ', name, ' ', fixed(seconds * 1e3, 2), " ms;");
  text.back() = '\n';
  return text;
}

// What --recipe stands for on that device, an option a line.
std::string recipe_text(const std::string& name, const Target& device) {
  if (name.empty()) return "";
  const RunRecipe& recipe = find_recipe(name);
  Table table({"option", "in the recipe"});
  for (const RecipePart& part : recipe.parts_on(device)) table.add({std::string(part.option), std::string(part.stands_for)});
  return cat("recipe ", recipe.name, ": ", recipe.what, '\n', table.text(2));
}

nlohmann::json recipe_json(const std::string& name, const Target& device) {
  nlohmann::json list = nlohmann::json::array();
  if (!name.empty())
    for (const RecipePart& part : find_recipe(name).parts_on(device)) list.push_back({{"option", part.option}, {"stands_for", part.stands_for}});
  return list;
}

int run_explain(const ExplainFlags& o, const Common& common) {
  if (o.passes) return list_passes(common);
  const ComponentTarget target(o);
  if (o.graph) {
    const std::string text = print(run_passes(target.graph(), target.compile_options(), target.device().target()), true);
    if (common.json)
      print_json({{"component", target.name()}, {"graph", text}});
    else
      print(text);
    return 0;
  }
  const Plan plan = target.plan();
  const Totals totals = count(plan);
  if (common.json) {
    nlohmann::json json = explained_json(target, plan, totals);
    if (!o.recipe.empty()) json["recipe"] = recipe_json(o.recipe, target.device().target());
    print_json(json);
    return 0;
  }
  if (!common.quiet)
    print(program_text(plan, plan.prepare, "prepare: once for a set of weights") + program_text(plan, plan.setup, "setup: once a prompt") +
          program_text(plan, plan.step, "step: every call"));
  print(totals_text(target, plan, totals) + recipe_text(o.recipe, target.device().target()));
  return 0;
}

}  // namespace

Command add_explain(Arguments& app, const Common& common) {
  auto o = std::make_shared<ExplainFlags>();
  Arguments* c = app.add_subcommand("explain", "The plan of a component: each step, its kernel, and why others were refused");
  c->add_option("--component", o->component, "unet, transformer, vae.decode, text_encoder, ...; default: the denoiser");
  const Option& passes = c->add_flag("--passes", o->passes, "List the passes instead");
  c->add_flag("--graph", o->graph, "Print the graph behind the passes instead").excludes(passes);
  o->add(*c);
  return {c, [o, &common] { return run_explain(*o, common); }};
}

}  // namespace vivace::cli
