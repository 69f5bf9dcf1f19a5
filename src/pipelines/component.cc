#include "pipelines/component.h"

#include <chrono>
#include <set>

#include "backends/cpu/backend.h"
#include "base/log.h"
#include "compiler/compile.h"
#include "compiler/symbols.h"
#include "runtime/resize.h"
#include "vivace/error.h"

namespace vivace {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Plans that may serve one another's calls.
std::string key_of(const GraphRequest& request, bool dynamic) {
  std::string key = cat(request.function, ' ', dtype_name(request.dtype));
  if (!dynamic)
    for (const auto& [name, size] : request.sizes)
      if (name != kTimesteps) key += cat(' ', name, '=', size);
  return key;
}

// Whether `plan` is made for `sizes` as it is.
bool fits(const Plan& plan, const Sizes& sizes) {
  for (const auto& [name, size] : sizes_of(plan))
    if (const auto wanted = sizes.find(name); wanted != sizes.end() && wanted->second != size) return false;
  return true;
}

}  // namespace

Sizes sizes_to_build(const GraphRequest& request, bool dynamic) {
  Sizes sizes = request.sizes;
  if (dynamic)
    for (auto& [name, size] : sizes) {
      const auto found = request.granularity.find(name);
      const int64_t granularity = found == request.granularity.end() ? 1 : found->second;
      while (size < 2 * granularity) size += granularity;
    }
  return sizes;
}

Component::Component(std::string name, WeightMap weights, DType dtype, CompileOptions options)
    : name_(std::move(name)), weights_(std::move(weights)), dtype_(dtype), options_(std::move(options)) {
  if (dtype != DType::float32 && dtype != DType::bfloat16 && dtype != DType::float16)
    throw UsageError(cat("dtype ", dtype_name(dtype), " is for storage only: expected float32, bfloat16 or float16"));
}

Graph Component::graph(const GraphRequest& request) const {
  return request.build(sizes_to_build(request, options_.dynamic), Builder(request.dtype, [this](const std::string& weight) {
                         const WeightInfo* info = weights_.find(weight);
                         return info ? info->dtype : DType::float32;
                       }));
}

Plan Component::plan(const GraphRequest& request) const { return vivace::compile(graph(request), cpu::backend(), options_); }

Session& Component::session(const GraphRequest& request) {
  std::vector<Compiled>& plans = compiled_[key_of(request, options_.dynamic)];
  for (Compiled& c : plans)
    if (c.session && fits(c.session->plan(), request.sizes)) return *c.session;
  const auto resize_to_request = [&](Compiled& c) -> Session* {
    const auto begin = std::chrono::steady_clock::now();
    Plan resized;
    const Refusal failed = resize(*c.plan, request.sizes, cpu::backend(), resized);
    seconds_resizing_ += seconds_since(begin);
    if (!failed) return &bind(c, std::make_shared<const Plan>(std::move(resized)));
    ++runtime_counters().guards_failed;
    info(name_, ' ', request.function, ": a guard failed: ", *failed);
    return nullptr;
  };
  for (Compiled& c : plans)
    if (Session* session = resize_to_request(c)) return *session;
  const auto begin = std::chrono::steady_clock::now();
  Compiled& added = plans.emplace_back(std::make_shared<const Plan>(plan(request)));
  ++runtime_counters().plans_compiled;
  seconds_compiling_ += seconds_since(begin);
  if (fits(*added.plan, request.sizes)) return bind(added, added.plan);
  if (Session* session = resize_to_request(added)) return *session;
  throw InternalError(cat(name_, ' ', request.function, ": a plan made for this call does not fit it"));
}

Session& Component::bind(Compiled& compiled, std::shared_ptr<const Plan> plan) {
  const auto begin = std::chrono::steady_clock::now();
  const WeightSource source{.find = [this](const std::string& weight) -> WeightBytes {
                              const WeightInfo& info = weights_.at(weight);
                              return {info.dtype, info.data};
                            },
                            .release = [this](const std::string& weight) { release_weight(weight); }};
  SessionMemory memory = compiled.session ? compiled.session->take_memory() : SessionMemory{};
  compiled.session.reset();
  compiled.session = std::make_unique<Session>(std::move(plan), cpu::backend(), store_, source, std::move(memory));
  seconds_preparing_ += seconds_since(begin);
  return *compiled.session;
}

void Component::compile(const CompileOptions& options) {
  options_ = options;
  options_.quantize.insert(quantization_.begin(), quantization_.end());
  compiled_.clear();
}

void Component::quantize(const std::map<std::string, Quantization>& layers) {
  for (const auto& [name, kind] : layers) quantization_[name] = options_.quantize[name] = kind;
  compiled_.clear();
}

Graph Component::typical_graph() const {
  if (!typical_) throw InternalError(cat(name_, " has no typical graph"));
  return graph(*typical_);
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
  for (const auto& [key, plans] : compiled_)
    for (const Compiled& c : plans)
      if (c.session) total += c.session->arena_bytes() + c.session->workspace_bytes();
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
