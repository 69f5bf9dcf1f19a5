#include "components/component.h"

#include <chrono>
#include <set>

#include "backends/devices.h"
#include "base/files.h"
#include "base/log.h"
#include "base/seconds.h"
#include "compiler/compile.h"
#include "compiler/search_text.h"
#include "compiler/symbols.h"
#include "runtime/plan_file.h"
#include "runtime/resize.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Plans that may serve one another's calls.
std::string key_of(const GraphRequest& request, bool dynamic) {
  std::string key = cat(request.function, ", ", dtype_name(request.dtype));
  if (!dynamic)
    for (const auto& [name, size] : request.sizes)
      if (name != kTimesteps) key += cat(", ", name, ' ', size);
  return key;
}

// How a plan is kept. Those after the first were compiled for calls that the ones before them do not fit.
std::string numbered(const std::string& key, size_t index) { return index == 0 ? key : cat(key, ", plan ", index); }

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

Component::Component(std::string name, WeightMap weights, DType dtype, CompileOptions options, CacheFolder tuning, std::shared_ptr<Device> device)
    : name_(std::move(name)), weights_(std::move(weights)), dtype_(dtype), options_(std::move(options)), device_(std::move(device)), store_(device_), tuning_(std::move(tuning)) {
  if (dtype != DType::float32 && dtype != DType::bfloat16 && dtype != DType::float16)
    throw UsageError(cat("dtype ", dtype_name(dtype), " is for storage only: expected float32, bfloat16 or float16"));
}

Component::Component(const std::filesystem::path& folder, const ModelOptions& options)
    : Component((folder.filename().empty() ? folder.parent_path() : folder).filename().string(), {}, options.dtype, options.compile, {}, open_device(options.device)) {
  variant_ = options.variant;
  package_ = ComponentPackage::find(folder);
  const auto use_cache = [&] {
    const CacheFolder cache(options.cache);
    cache_ = ComponentCache(cache, name_, read_file(folder / "config.json"), weights_, device_);
    tuning_ = TuningStore(cache);
  };
  if (!package_) {
    weights_ = WeightMap::open(folder, variant_);
    use_cache();
    return;
  }
  if (options.dtype != DType::float32 && options.dtype != package_->dtype())
    throw UsageError(cat(folder.string(), ": the package computes in ", dtype_name(package_->dtype()), ", not ", dtype_name(options.dtype), ": export it with that dtype"));
  if (options_text(options.compile) != options_text({})) throw UsageError(cat(folder.string(), ": a package is compiled already: give compile options when exporting it"));
  dtype_ = package_->dtype();
  options_.dynamic = package_->dynamic();
  if (auto prepared = package_->weights()) {
    store_.add_file(std::move(prepared));
    return;
  }
  weights_ = WeightMap::open(package_->checkpoint(), package_->variant());
  if (model_hash(read_file(folder / "config.json"), weights_) != package_->model())
    throw UserError(cat(package_->checkpoint().string(), ": is not the checkpoint that the package was made from: export it again"));
  use_cache();
}

CompileOptions Component::options(const std::string& function) const {
  const auto own = function_options_.find(function);
  CompileOptions options = own == function_options_.end() ? options_ : own->second;
  if (sdpa_kernel::current()) options.sdpa = *sdpa_kernel::current();
  return options;
}

Graph Component::graph(const GraphRequest& request) const {
  check_unpackaged();
  return request.build(sizes_to_build(request, options(request.function).dynamic), Builder(request.dtype, [this](const std::string& weight) {
                         const WeightInfo* info = weights_.find(weight);
                         return info ? info->dtype : DType::float32;
                       }));
}

Plan Component::plan(const GraphRequest& wanted, Request& request) {
  return vivace::compile(graph(wanted), *device_, options(wanted.function), &tuning_, &request);
}

Session& Component::session(const GraphRequest& wanted, Request& request) {
  request.check();
  const CompileOptions options = this->options(wanted.function);
  std::string key = key_of(wanted, options.dynamic);
  if (sdpa_kernel::current()) key += cat(" sdpa ", sdp_backends_name(*sdpa_kernel::current()));
  std::vector<Compiled>& plans = compiled_[key];
  for (Compiled& c : plans)
    if (c.session && fits(c.session->plan(), wanted.sizes)) return *c.session;
  for (Compiled& c : plans)
    if (Session* session = resized(c, wanted, request)) return *session;
  while (std::optional<Plan> kept = kept_plan(numbered(key, plans.size()), options, request)) {
    Compiled& added = plans.emplace_back(std::make_shared<const Plan>(*std::move(kept)));
    if (Session* session = resized(added, wanted, request)) return *session;
  }
  if (package_) package_->fail_without_plan(key_of(wanted, false));
  const auto begin = std::chrono::steady_clock::now();
  Compiled& added = plans.emplace_back(std::make_shared<const Plan>(plan(wanted, request)));
  ++request.counters.plans_compiled;
  cache_.keep(numbered(key, plans.size() - 1), options, *added.plan);
  seconds_compiling_ += seconds_since(begin);
  if (const std::string searched = search_text(*added.plan); !searched.empty()) info(name_, ' ', wanted.function, ":\n", searched);
  if (Session* session = resized(added, wanted, request)) return *session;
  throw InternalError(cat(name_, ' ', wanted.function, ": a plan made for this call does not fit it"));
}

// From the package or the cache.
std::optional<Plan> Component::kept_plan(const std::string& key, const CompileOptions& options, Request& request) {
  const auto begin = std::chrono::steady_clock::now();
  std::optional<Plan> found = package_ ? package_->plan(key, *device_) : cache_.plan(key, options);
  if (found) ++request.counters.plans_loaded;
  if (found && package_ && !package_->checkpoint().empty()) check_reads(*found);
  seconds_compiling_ += seconds_since(begin);
  return found;
}

// A package's plan comes from a stranger: what it takes for a tensor of the checkpoint must be one.
void Component::check_reads(const Plan& plan) const {
  for (const PlanValue& v : plan.values) {
    if (v.where != PlanValue::Where::weight) continue;
    const WeightInfo& weight = weights_.at(v.key);
    if (weight.dtype != v.type.dtype || weight.shape != v.type.shape)
      throw UserError(cat(package_->checkpoint().string(), ": tensor \"", v.key, "\" is ", dtype_name(weight.dtype), to_string(weight.shape), ", the package's plan reads ",
                          dtype_name(v.type.dtype), to_string(v.type.shape), ": export it again"));
  }
}

// The session for the request, where the plan can be made to fit it; otherwise nullptr.
Session* Component::resized(Compiled& compiled, const GraphRequest& wanted, Request& request) {
  if (!compiled.session && fits(*compiled.plan, wanted.sizes)) return &bind(compiled, compiled.plan, request);
  const auto begin = std::chrono::steady_clock::now();
  Plan plan;
  const Refusal failed = resize(*compiled.plan, wanted.sizes, *device_, plan);
  seconds_resizing_ += seconds_since(begin);
  if (failed) {
    ++request.counters.guards_failed;
    info(name_, ' ', wanted.function, ": a guard failed: ", *failed);
    return nullptr;
  }
  ++request.counters.plans_resized;
  return &bind(compiled, std::make_shared<const Plan>(std::move(plan)), request);
}

Session& Component::bind(Compiled& compiled, std::shared_ptr<const Plan> plan, Request& request) {
  const auto begin = std::chrono::steady_clock::now();
  cache_.load_constants(store_);
  const WeightSource source{.find = [this](const std::string& weight) -> WeightBytes {
                              const WeightInfo& info = weights_.at(weight);
                              return {info.dtype, info.data};
                            },
                            .release = [this](const std::string& weight) { release_weight(weight); }};
  SessionMemory memory = compiled.session ? compiled.session->take_memory() : SessionMemory{};
  compiled.session.reset();
  compiled.session = std::make_unique<Session>(std::move(plan), *device_, store_, source, request, std::move(memory));
  cache_.keep_constants(store_);
  seconds_preparing_ += seconds_since(begin);
  return *compiled.session;
}

std::map<std::string, std::string> Component::plans_as_bytes() const {
  std::map<std::string, std::string> result;
  for (const auto& [key, plans] : compiled_)
    for (size_t i = 0; i < plans.size(); ++i) result.emplace(numbered(key, i), serialize_plan(*plans[i].plan));
  return result;
}

std::vector<Constant> Component::constants() const {
  std::map<std::string, Constant> unique;
  for (const auto& [key, plans] : compiled_)
    for (const Compiled& c : plans)
      if (c.session)
        for (Constant& constant : c.session->constants()) unique.emplace(constant.key, std::move(constant));
  std::vector<Constant> result;
  for (auto& [key, constant] : unique) result.push_back(std::move(constant));
  Request request;
  return on_host(std::move(result), *device_, request.counters);
}

void Component::check_unpackaged() const {
  if (package_) throw UsageError(cat("the ", name_, " of a package is compiled already: compile or quantise the checkpoint it came from and export that"));
}

void Component::compile(const CompileOptions& options, const std::string& function) {
  check_unpackaged();
  const bool fused = options_.fuse_qkv;
  if (function.empty()) function_options_.clear();
  CompileOptions& own = function.empty() ? options_ : function_options_[function];
  own = options;
  own.fuse_qkv |= fused;
  own.quantize.insert(quantization_.begin(), quantization_.end());
  compiled_.clear();
}

void Component::fuse_qkv_projections(bool fuse) {
  check_unpackaged();
  if (options_.fuse_qkv == fuse) return;
  options_.fuse_qkv = fuse;
  for (auto& [function, options] : function_options_) options.fuse_qkv = fuse;
  compiled_.clear();
}

void Component::quantize(const std::map<std::string, Quantization>& layers) {
  check_unpackaged();
  for (const auto& [name, kind] : layers) {
    quantization_[name] = options_.quantize[name] = kind;
    for (auto& [function, options] : function_options_) options.quantize[name] = kind;
  }
  compiled_.clear();
}

Graph Component::typical_graph() const {
  if (!typical_) throw InternalError(cat(name_, " has no typical graph"));
  return graph(*typical_);
}

void Component::check_weights(const std::function<std::vector<Graph>()>& graphs, std::span<const std::string> ignored) const {
  if (package_ || cache_.weights_checked()) return;
  std::vector<ExpectedWeight> expected;
  std::set<std::string> seen;
  for (const Graph& g : graphs())
    for (const Node& node : g.nodes)
      if (node.op == Op::weight && seen.insert(node.attrs.text("name")).second) expected.push_back({node.attrs.text("name"), node.shape});
  // Every start warns of tensors that are not used.
  if (weights_.check(expected, ignored)) cache_.keep_weights_checked();
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
