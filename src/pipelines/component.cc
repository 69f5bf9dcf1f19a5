#include "pipelines/component.h"

#include <chrono>
#include <set>

#include "backends/cpu/backend.h"
#include "base/log.h"
#include "compiler/compile.h"
#include "vivace/error.h"

namespace vivace {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

Component::Component(std::string name, WeightMap weights, DType dtype, CompileOptions options)
    : name_(std::move(name)), weights_(std::move(weights)), dtype_(dtype), options_(std::move(options)) {
  if (dtype != DType::float32 && dtype != DType::bfloat16 && dtype != DType::float16)
    throw UsageError(cat("dtype ", dtype_name(dtype), " is for storage only: expected float32, bfloat16 or float16"));
}

Graph Component::graph(DType dtype, const BuildGraph& build) const {
  return build(Builder(dtype, [this](const std::string& weight) {
    const WeightInfo* info = weights_.find(weight);
    return info ? info->dtype : DType::float32;
  }));
}

Plan Component::plan(DType dtype, const BuildGraph& build) const { return vivace::compile(graph(dtype, build), cpu::backend(), options_); }

Session& Component::session(const std::string& key, DType dtype, const BuildGraph& build) {
  std::unique_ptr<Session>& slot = sessions_[cat(key, ' ', dtype_name(dtype))];
  if (slot) return *slot;
  auto begin = std::chrono::steady_clock::now();
  auto compiled = std::make_shared<const Plan>(plan(dtype, build));
  ++runtime_counters().plans_compiled;
  seconds_compiling_ += seconds_since(begin);
  begin = std::chrono::steady_clock::now();
  const WeightSource source{.find = [this](const std::string& weight) -> WeightBytes {
                              const WeightInfo& info = weights_.at(weight);
                              return {info.dtype, info.data};
                            },
                            .release = [this](const std::string& weight) { release_weight(weight); }};
  slot = std::make_unique<Session>(std::move(compiled), cpu::backend(), store_, source);
  seconds_preparing_ += seconds_since(begin);
  return *slot;
}

void Component::compile(const CompileOptions& options) {
  options_ = options;
  options_.quantize.insert(quantization_.begin(), quantization_.end());
  sessions_.clear();
}

void Component::quantize(const std::map<std::string, Quantization>& layers) {
  for (const auto& [name, kind] : layers) quantization_[name] = options_.quantize[name] = kind;
  sessions_.clear();
}

Graph Component::typical_graph() const {
  if (!typical_) throw InternalError(cat(name_, " has no typical graph"));
  return graph(dtype_, typical_);
}

void Component::check_weights(std::initializer_list<Graph> graphs) const {
  std::vector<ExpectedWeight> expected;
  std::set<std::string> seen;
  for (const Graph& g : graphs)
    for (const Node& node : g.nodes)
      if (node.op == Op::weight && seen.insert(node.attrs.text("name")).second) expected.push_back({node.attrs.text("name"), node.shape});
  weights_.check(expected);
}

size_t Component::arena_bytes() const {
  size_t total = 0;
  for (const auto& [key, session] : sessions_) total += session->arena_bytes() + session->workspace_bytes();
  return total;
}

void Component::release_weight(const std::string& name) const {
  const WeightInfo& info = weights_.at(name);
  const auto* data = static_cast<const std::byte*>(info.data);
  for (const auto& file : weights_.files()) {
    const FileMap& map = file->map();
    if (data >= map.data() && data < map.data() + map.size()) map.dont_need(static_cast<size_t>(data - map.data()), info.bytes);
  }
}

}  // namespace vivace
