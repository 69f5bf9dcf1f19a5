#include "tune/candidates.h"

#include <algorithm>
#include <initializer_list>
#include <map>

#include "base/log.h"
#include "components/component.h"
#include "components/quantization.h"
#include "pipelines/loaded.h"
#include "plan_text.h"

namespace vivace::cli {
namespace {

// Layers that are switched together, and their arithmetic.
struct Group {
  double flops = 0;
  std::vector<std::string> layers;
};
using Groups = std::map<std::string, Group>;

void add(Groups& groups, const std::string& name, const std::string& layer, double flops) {
  Group& group = groups[name];
  group.flops += flops;
  if (!std::ranges::count(group.layers, layer)) group.layers.push_back(layer);
}

// "down_blocks.1", "decoder.up_blocks.2".
std::string block(const std::string& scope) { return scope.starts_with("decoder.") ? "decoder." + block_of(scope.substr(8)) : block_of(scope); }

constexpr double kInt16Error = 1e-3;  // as max-autotune has in bfloat16
// What max-autotune lets a convolution spend by itself.
double winograd_error(DType dtype) { return dtype == DType::float32 ? 2e-6 : 5e-3; }

bool multiplies_int16(const Plan& plan) {
  return std::ranges::any_of(plan.step, [](const PlanStep& step) { return step.traits & kInt16Products; });
}

// Convolutions that run as Winograd when they may.
void collect_winograd(Groups& groups, const Plan& plan, double calls) {
  for (const PlanStep& step : plan.step)
    if (step.traits & kWinograd) add(groups, "winograd " + block(step.scope), step.scope, calls * flops(plan, step));
}

double bytes_of(const ModelWeight& weight) { return static_cast<double>(numel(weight.shape)) * static_cast<double>(dtype_size(weight.dtype)); }

// What a linear layer is switched together with: the part of a transformer block that it belongs to, of all blocks of one stage of a UNet, or of one
// list of a transformer: "down_blocks.1 attn1", "single_transformer_blocks attn". Nothing outside of such blocks, nor where it makes the
// modulation of a norm, which runs once a prompt.
std::string group_of(const std::string& layer) {
  static const std::string kList = "transformer_blocks.";
  const size_t at = layer.rfind(kList);
  if (at == std::string::npos) return "";
  const size_t begin = layer.rfind('.', at) == std::string::npos ? 0 : layer.rfind('.', at) + 1, number = at + kList.size();
  const size_t part = layer.find('.', number) + 1;
  const std::string name = layer.substr(part, layer.find('.', part) - part);
  if (name.starts_with("norm")) return "";
  const std::string where = begin == 0 ? layer.substr(0, number - 1) : block(layer);
  return cat(where, ' ', name);
}

// Of products of 8 bits, as int8 or float8.
void collect_quantized(Groups& groups, const Component& denoiser, const Graph& graph, Quantization as) {
  for (const auto& [layer, kind] : choose_layers(graph, denoiser.options(), as, quantize_all))
    if (const std::string group = group_of(layer); !group.empty()) add(groups, group, layer, bytes_of(*denoiser.weights().find(layer + ".weight")));
}

void append(std::vector<Candidate>& candidates, const Groups& groups, std::vector<std::string> Candidate::*layers) {
  std::vector<std::pair<std::string, Group>> sorted(groups.begin(), groups.end());
  std::ranges::stable_sort(sorted, [](const auto& a, const auto& b) { return a.second.flops > b.second.flops; });
  for (auto& [name, group] : sorted) {
    candidates.push_back({.name = name});
    candidates.back().*layers = std::move(group.layers);
  }
}

// Each group in each of these ways, of which one is taken at most.
struct QuantizedWay {
  const char *before, *behind;  // a group's name
  Quantization kind;
};
void append_quantized(std::vector<Candidate>& candidates, const Groups& groups, std::initializer_list<QuantizedWay> ways) {
  std::vector<Candidate> plain;
  append(plain, groups, &Candidate::quantized);
  for (const Candidate& group : plain)
    for (const QuantizedWay& way : ways) {
      Candidate& made = candidates.emplace_back(group);
      made.name = cat(way.before, group.name, way.behind);
      made.knob = cat("8 bits ", group.name);
      made.kind = way.kind;
    }
}

}  // namespace

std::vector<Candidate> find_candidates(DiffusionPipeline& pipe, const CallOptions& call) {
  constexpr double kSteps = 30;  // a decode weighs as much as one of them
  // Nothing here times single kernels: candidates are told apart by what they do, and whole pictures are timed.
  CompileOptions everything{.mode = CompileMode::max_autotune, .autotune_seconds = 0};
  pipe.compile(everything);
  const Recipe& recipe = *pipe.loaded().recipe;
  const std::vector<SessionNeed> needs = recipe.sessions_for(recipe.resolve("", call));
  Request request;
  Groups winograd, int8, float8;
  for (const SessionNeed& need : needs) {
    if (need.stage == Stage::encode) continue;
    const Component& component = pipe.model(std::string(need.part)).component();
    const bool repeats = need.stage == Stage::denoise;
    collect_winograd(winograd, component.plan(need.request, request), repeats ? kSteps : 1);
    if (!repeats) continue;
    const Graph graph = component.graph(need.request);
    collect_quantized(int8, component, graph, Quantization::int8_dynamic);
    if (component.device().target().float8_products) collect_quantized(float8, component, graph, Quantization::float8_dynamic);
  }

  std::vector<Candidate> candidates;
  append(candidates, winograd, &Candidate::winograd);
  everything.error_budget = kInt16Error;
  pipe.compile(everything);
  const auto takes_int16 = [&](const SessionNeed& need) {
    return need.stage == Stage::denoise && multiplies_int16(pipe.model(std::string(need.part)).component().plan(need.request, request));
  };
  if (std::ranges::any_of(needs, takes_int16)) candidates.push_back({.name = "int16", .error_budget = kInt16Error});
  append_quantized(candidates, float8, {{"float8 ", "", Quantization::float8_dynamic}});
  append_quantized(candidates, int8, {{"int8 ", "", Quantization::int8_dynamic}, {"int8 ", " rotated", Quantization::int8_dynamic_rotated}});
  candidates.push_back({.name = "sdpa efficient", .knob = "sdpa", .sdpa = SDPBackend::efficient});
  candidates.push_back({.name = "sdpa math", .knob = "sdpa", .sdpa = SDPBackend::math});
  return candidates;
}

PretrainedOptions setting_of(DType dtype, std::span<const Candidate> all, std::span<const Candidate> chosen) {
  PretrainedOptions setting{.dtype = dtype, .compile = {.mode = CompileMode::default_, .autotune_seconds = 0}};
  CompileOptions& compile = setting.compile;
  compile.error_budget = 0;
  for (const Candidate& candidate : chosen) {
    if (candidate.sdpa) compile.sdpa = *candidate.sdpa;
    if (!candidate.winograd.empty() || candidate.error_budget > 0) compile.mode = CompileMode::max_autotune;
    if (candidate.error_budget > 0) compile.error_budget.each_layer = candidate.error_budget;
    for (const std::string& layer : candidate.winograd) compile.error_budget.layers[layer] = winograd_error(dtype);
    for (const std::string& layer : candidate.quantized) compile.quantize[layer] = candidate.kind;
  }
  if (compile.mode != CompileMode::max_autotune) return setting;
  for (const Candidate& candidate : all)
    for (const std::string& layer : candidate.winograd) compile.error_budget.layers.try_emplace(layer, 0);
  return setting;
}

}  // namespace vivace::cli
