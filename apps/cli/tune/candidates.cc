#include "tune/candidates.h"

#include <algorithm>
#include <map>

#include "components/models.h"
#include "components/quantization.h"
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

// The linear layers of a transformer block by what they belong to: attn1, attn2 or ff.
void collect_int8(Groups& groups, const UNetComponent& unet, const Graph& graph) {
  for (const auto& [layer, kind] : choose_layers(graph, unet.options(), Quantization::int8_dynamic, quantize_all))
    for (const char* part : {"attn1", "attn2", "ff"})
      if (layer.find(std::string(".") + part + ".") != std::string::npos)
        add(groups, "int8 " + block(layer) + " " + part, layer, bytes_of(*unet.weights().find(layer + ".weight")));
}

void append(std::vector<Candidate>& candidates, const Groups& groups, std::vector<std::string> Candidate::*layers) {
  std::vector<std::pair<std::string, Group>> sorted(groups.begin(), groups.end());
  std::ranges::stable_sort(sorted, [](const auto& a, const auto& b) { return a.second.flops > b.second.flops; });
  for (auto& [name, group] : sorted) {
    candidates.push_back({.name = name});
    candidates.back().*layers = std::move(group.layers);
  }
}

}  // namespace

std::vector<Candidate> find_candidates(DiffusionPipeline& pipe, Size size) {
  constexpr double kSteps = 30;  // a decode weighs as much as one of them
  auto& unet = static_cast<UNetComponent&>(pipe.unet().component());
  auto& vae = static_cast<VAEComponent&>(pipe.vae().component());
  // Nothing here times single kernels: candidates are told apart by what they do, and whole pictures are timed.
  const CompileOptions everything{.mode = CompileMode::max_autotune, .autotune_seconds = 0};
  unet.compile(everything);
  vae.compile(everything);
  const int64_t height = size.first / pipe.vae().scale(), width = size.second / pipe.vae().scale();
  const GraphRequest wanted = unet.request({.batch = 2, .height = height, .width = width});
  Request request;
  Groups winograd, int8;
  collect_winograd(winograd, unet.plan(wanted, request), kSteps);
  collect_winograd(winograd, vae.plan(vae.decode_request(1, height, width, vae.decode_dtype()), request), 1);
  collect_int8(int8, unet, unet.graph(wanted));

  std::vector<Candidate> candidates;
  append(candidates, winograd, &Candidate::winograd);
  CompileOptions more = everything;
  more.error_budget = kInt16Error;
  unet.compile(more);
  if (multiplies_int16(unet.plan(wanted, request))) candidates.push_back({.name = "int16", .error_budget = kInt16Error});
  append(candidates, int8, &Candidate::int8);
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
    for (const std::string& layer : candidate.int8) compile.quantize[layer] = Quantization::int8_dynamic;
  }
  if (compile.mode != CompileMode::max_autotune) return setting;
  for (const Candidate& candidate : all)
    for (const std::string& layer : candidate.winograd) compile.error_budget.layers.try_emplace(layer, 0);
  return setting;
}

}  // namespace vivace::cli
