#include "components/component.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <sstream>

#include "backends/devices.h"
#include "base/files.h"
#include "base/log.h"
#include "base/seconds.h"
#include "compiler/compile.h"
#include "compiler/search_text.h"
#include "components/whole_notes.h"
#include "passes/passes.h"
#include "runtime/plan_file.h"
#include "runtime/resize.h"
#include "vivace/error.h"
#include "weights/file_layer.h"

namespace vivace {
namespace {

// How a plan is kept. Those after the first were compiled for calls that the ones before them do not fit.
std::string numbered(const std::string& key, size_t index) { return index == 0 ? key : cat(key, ", plan ", index); }

// Before what a key says of adapters.
constexpr const char* kAdapters = " adapters ";

// Which content the mapped files have, as the kernel tells it.
std::string files_text(const WeightMap& weights) {
  std::string text;
  for (const auto& file : weights.files()) text += cat(file->map().stamp().text(), '\n');
  return text;
}

// Whether a folder holds weights at all, in whatever variant.
bool has_weights(const std::filesystem::path& folder) {
  return std::ranges::any_of(std::filesystem::directory_iterator(folder),
                             [](const auto& entry) { return entry.path().filename().string().find(".safetensors") != std::string::npos; });
}

}  // namespace

Component::Component(std::string name, WeightMap weights, DType dtype, CompileOptions options, CacheFolder tuning, std::shared_ptr<Device> device,
                     const SessionLimits& limits)
    : name_(std::move(name)),
      weights_(std::move(weights), CacheFolder()),
      dtype_(dtype),
      options_(std::move(options)),
      device_(std::move(device)),
      tuning_(std::move(tuning)),
      sessions_(limits) {
  if (dtype != DType::float32 && dtype != DType::bfloat16 && dtype != DType::float16)
    throw UsageError(cat("dtype ", dtype_name(dtype), " is for storage only: expected float32, bfloat16 or float16"));
  use(std::make_shared<PreparedWeights>(device_));
}

Component::Component(const std::filesystem::path& folder, const ComponentOptions& options)
    : Component((folder.filename().empty() ? folder.parent_path() : folder).filename().string(), {}, options.dtype, options.compile, {},
                open_device(options.device), {.idle_bytes = options.idle_bytes}) {
  variant_ = options.variant;
  look_ = options.look;
  if (options.weights) besides_ = options.weights->besides;
  const auto open_weights = [&](const CacheFolder& cache) {
    if (options.weights) return WeightStack(options.weights->files, cache).over(options.weights->layers);
    const WeightStack stack(WeightMap::open(folder, variant_), cache);
    return stack.over(storage_layers(stack.files()));
  };
  if (look_) {
    if (!is_folder(folder)) throw UserError(cat("no component folder at ", folder.string(), ": expected a checkpoint in Diffusers layout"));
    if (options.weights || has_weights(folder)) weights_ = open_weights({});
    tuning_ = TuningStore(CacheFolder(options.cache));
    return;
  }
  if (!options.weights) package_ = ComponentPackage::find(folder);
  const CacheFolder cache(options.cache);
  cache_options_ = options.cache;
  const auto use_cache = [&] {
    config_ = read_file(folder / "config.json");
    share_prepared(cache);
    tuning_ = TuningStore(cache);
  };
  if (!package_) {
    weights_ = open_weights(cache);
    use_cache();
    return;
  }
  if (options.dtype != DType::float32 && options.dtype != package_->dtype())
    throw UsageError(cat(folder.string(), ": the package computes in ", dtype_name(package_->dtype()), ", not ", dtype_name(options.dtype),
                         ": export it with that dtype"));
  if (options_text(options.compile) != options_text({}))
    throw UsageError(cat(folder.string(), ": a package is compiled already: give compile options when exporting it"));
  dtype_ = package_->dtype();
  options_.dynamic = package_->dynamic();
  if (add_packaged_weights()) return;
  weights_ = WeightStack(WeightMap::open(package_->checkpoint(), package_->variant()), cache);
  if (model_hash(read_file(folder / "config.json"), weights_) != package_->model())
    throw UserError(cat(package_->checkpoint().string(), ": is not the checkpoint that the package was made from: export it again"));
  use_cache();
}

void Component::share_prepared(const CacheFolder& cache) {
  const std::string key = cat(name_, '\n', model_hash(config_, weights_), '\n', files_text(weights_.files()), cache_options_.enabled, ' ',
                              cache_options_.folder.string(), ' ', static_cast<const void*>(device_.get()));
  use(PreparedWeights::shared(key, [&] {
    auto made = std::make_shared<PreparedWeights>(device_);
    made->cache = ComponentCache(cache, name_, config_, weights_, device_);
    return made;
  }));
}

void Component::use(std::shared_ptr<PreparedWeights> prepared) {
  prepared_ = std::move(prepared);
  sessions_.limit_lent(device_->memory() / 2);
  user_ = std::make_unique<PreparedWeights::User>(prepared_, [this] {
    sessions_.clear();
    read_.clear();
  });
}

void Component::to(const std::shared_ptr<Device>& device) {
  if (device == device_) return;
  check_unpackaged();
  forget_plans();
  used_.clear();
  unused_.clear();
  device_ = device;
  resident_ = kAllResident;
  if (config_.empty())
    use(std::make_shared<PreparedWeights>(device_));
  else
    share_prepared(CacheFolder(cache_options_));
}

bool Component::add_packaged_weights() const {
  const auto map = package_ ? package_->weights() : nullptr;
  if (!map) return false;
  const std::string name = map->path().string();
  const WholeNotes notes(CacheFolder(cache_options_), name);
  prepared_->store.add_file(
      ConstantFile::open(map->bytes(), map, name),
      [](const ConstantFile& file) { throw UserError(cat(file.name(), ": damaged (the checksum of a constant differs): make it again")); },
      notes.known(map->stamp()), notes.keeper(map, map->stamp()));
  return true;
}

CompileOptions Component::options(const std::string& function) const {
  const auto own = function_options_.find(function);
  return own == function_options_.end() ? options_ : own->second;
}

CompileOptions Component::options(const std::string& function, const Request& request) const {
  CompileOptions options = this->options(function);
  if (request.sdpa) options.sdpa = *request.sdpa;
  return options;
}

Graph Component::graph(const GraphRequest& request) const {
  check_unpackaged();
  return build_graph(request, options(request.function).dynamic, [this, &request](const std::string& weight) {
    const ModelWeight* found = adapted().find(weight);
    return found ? found->dtype : request.dtype;
  });
}

Plan Component::plan(const GraphRequest& wanted, Request& request) const {
  Graph graph = this->graph(wanted);
  resolve_weights(graph, adapted());
  const CompileOptions options = this->options(wanted.function, request);
  // Without kernels of 8 bits the layers would be what they mean, at full precision.
  if (const Target target = device_->target(); !options.quantize.empty() && !target.int8_products)
    throw UserError(cat(name_, ": quantised layers have no kernels on device ", target.name, ": run without quantisation"));
  return vivace::compile(std::move(graph), *device_, options, &tuning_, &request);
}

SessionLease Component::lease(const GraphRequest& wanted, Request& request) const {
  request.check();
  for (const auto& file : weights_.files().files()) file->map().check_unchanged();
  const std::shared_ptr<const Plan> plan = find_plan(wanted, request);
  return sessions_.lease(
      plan, request, [&] { return make_session(plan, request); }, resident_);
}

std::shared_ptr<const Plan> Component::find_plan(const GraphRequest& wanted, Request& request) const {
  const CompileOptions options = this->options(wanted.function, request);
  const std::string scope = request.sdpa ? cat(" sdpa ", sdp_backends_name(*request.sdpa)) : "";
  const std::string key = cat(key_of(wanted, options.dynamic), scope, adapters_key());
  const std::shared_ptr<PlanShelf::Row> shared = plans_.row(key);
  PlanShelf::Row& row = *shared;
  const Turn turn(row.turns, request.stop);
  if (auto found = row.find(wanted.sizes)) return found;
  const auto sized = [&](const std::shared_ptr<const Plan>& plan) {
    auto found = resized(plan, wanted, request);
    if (found && found != plan) row.remember(found);
    return found;
  };
  for (const auto& plan : row.plans)
    if (auto found = sized(plan)) return found;
  while (std::optional<Plan> kept = kept_plan(numbered(key, row.plans.size()), options, request)) {
    row.plans.push_back(std::make_shared<const Plan>(*std::move(kept)));
    if (auto found = sized(row.plans.back())) return found;
  }
  if (package_) package_->fail_without_plan(key_of(wanted, false) + scope);
  const auto begin = std::chrono::steady_clock::now();
  row.plans.push_back(std::make_shared<const Plan>(plan(wanted, request)));
  const std::shared_ptr<const Plan> made = row.plans.back();
  ++request.counters.plans_compiled;
  cache().keep(numbered(key, row.plans.size() - 1), options, *made);
  seconds_compiling_ += seconds_since(begin);
  std::istringstream searched(search_text(*made));
  for (std::string line; std::getline(searched, line);) info(name_, ' ', wanted.function, ": ", line);  // a message is one line
  if (auto found = sized(made)) return found;
  throw InternalError(cat(name_, ' ', wanted.function, ": a plan made for this call does not fit it"));
}

// From the package or the cache.
std::optional<Plan> Component::kept_plan(const std::string& key, const CompileOptions& options, Request& request) const {
  const auto begin = std::chrono::steady_clock::now();
  std::optional<Plan> found = package_ ? package_->plan(key, *device_) : cache().plan(key, options);
  if (found) ++request.counters.plans_loaded;
  if (found && package_ && !package_->checkpoint().empty()) check_reads(*found);
  seconds_compiling_ += seconds_since(begin);
  return found;
}

// A package's plan comes from a stranger: what it takes for a tensor of the checkpoint must be one.
void Component::check_reads(const Plan& plan) const {
  for (const PlanValue& v : plan.values) {
    if (v.where != PlanValue::Where::weight) continue;
    const WeightInfo& weight = weights_.files().at(v.key);
    if (weight.dtype != v.type.dtype || weight.shape != v.type.shape)
      throw UserError(cat(package_->checkpoint().string(), ": tensor \"", v.key, "\" is ", dtype_name(weight.dtype), to_string(weight.shape),
                          ", the package's plan reads ", dtype_name(v.type.dtype), to_string(v.type.shape), ": export it again"));
  }
}

// The plan for the request's sizes, where it can be made to fit them; otherwise nullptr.
std::shared_ptr<const Plan> Component::resized(const std::shared_ptr<const Plan>& plan, const GraphRequest& wanted, Request& request) const {
  if (fits(*plan, wanted.sizes)) return plan;
  const auto begin = std::chrono::steady_clock::now();
  Plan sized;
  const Refusal failed = resize(*plan, wanted.sizes, *device_, sized);
  seconds_resizing_ += seconds_since(begin);
  if (failed) {
    ++request.counters.guards_failed;
    info(name_, ' ', wanted.function, ": a guard failed: ", *failed);
    return nullptr;
  }
  ++request.counters.plans_resized;
  return std::make_shared<const Plan>(std::move(sized));
}

std::unique_ptr<Session> Component::make_session(const std::shared_ptr<const Plan>& plan, Request& request) const {
  const Turn turn(prepared_->turns, request.stop);
  const auto begin = std::chrono::steady_clock::now();
  prepared_->cache.load_constants(prepared_->store, request.stop);
  std::shared_ptr<const Program> program = program_.lock();
  if (!program || program->plan != plan || program->threads != num_threads() || program->resident_bytes != resident_)
    program_ = program = std::make_shared<const Program>(plan, *device_, resident_);
  const WeightSource weights = source();
  const std::vector<ConstantId> ids = constant_ids(*program, weights);
  used_.insert(ids.begin(), ids.end());
  // What other adapters were made into goes first, so that its memory serves for what takes its place.
  for (const ConstantId& id : used_) unused_.erase(id);
  prepared_->store.forget(std::exchange(unused_, {}));
  auto session = std::make_unique<Session>(std::move(program), *device_, prepared_->store, weights, request);
  prepared_->cache.keep_constants(prepared_->store);
  for (Constant& constant : session->constants()) read_.emplace(constant.id, std::move(constant));
  seconds_preparing_ += seconds_since(begin);
  return session;
}

WeightSource Component::source() const {
  WeightSource source = adapted().source();
  // A package that holds its weights knows them by their names, and has no others.
  if (package_ && package_->checkpoint().empty()) {
    source.origin = nullptr;
    source.replaceable = nullptr;
  }
  return source;
}

std::string Component::adapters_key() const { return adapted_ ? cat(kAdapters, hash_text(adapted_->structure())) : ""; }

std::map<std::string, std::string> Component::plans_as_bytes() const {
  const std::string adapters = adapters_key();
  std::map<std::string, std::string> result;
  for (const auto& [key, row] : plans_.rows()) {
    const size_t own = std::min(key.find(kAdapters), key.size());
    if (key.substr(own) != adapters) continue;
    for (size_t i = 0; i < row->plans.size(); ++i) result.emplace(numbered(key.substr(0, own), i), serialize_plan(*row->plans[i]));
  }
  return result;
}

std::vector<Constant> Component::constants() const {
  std::vector<Constant> result;
  result.reserve(read_.size());
  for (const auto& [key, constant] : read_) result.push_back(constant);
  return result;
}

void Component::set_adapters(const WeightLayers& adapters) {
  if (adapters.empty() && !adapted_) return;
  check_unpackaged();
  if (adapters.empty())
    adapted_.reset();
  else
    adapted_ = weights_.over(adapters);
  sessions_.clear();
  read_.clear();
  unused_.merge(used_);
  used_.clear();
}

void Component::forget_plans() {
  plans_.clear();
  sessions_.clear();
  read_.clear();
}

void Component::check_unpackaged() const {
  if (package_)
    throw UsageError(cat("the ", name_, " of a package is compiled already: compile or quantise the checkpoint it came from and export that"));
}

void Component::compile(const CompileOptions& options, const std::string& function) {
  check_unpackaged();
  const bool fused = options_.fuse_qkv;
  if (function.empty()) function_options_.clear();
  CompileOptions& own = function.empty() ? options_ : function_options_[function];
  own = options;
  own.fuse_qkv |= fused;
  own.quantize.insert(quantization_.begin(), quantization_.end());
  forget_plans();
}

void Component::fuse_qkv_projections(bool fuse) {
  check_unpackaged();
  if (options_.fuse_qkv == fuse) return;
  options_.fuse_qkv = fuse;
  for (auto& [function, options] : function_options_) options.fuse_qkv = fuse;
  forget_plans();
}

void Component::quantize(const std::map<std::string, Quantization>& layers) {
  check_unpackaged();
  for (const auto& [name, kind] : layers) {
    quantization_[name] = options_.quantize[name] = kind;
    for (auto& [function, options] : function_options_) options.quantize[name] = kind;
  }
  forget_plans();
}

Graph Component::typical_graph() const {
  if (!typical_) throw InternalError(cat(name_, " has no typical graph"));
  return graph(*typical_);
}

Hash128 Component::sampled_weights() const {
  constexpr size_t kSample = 256;
  std::string text = package_ ? package_->model() : "";
  const auto add = [&](const WeightInfo& tensor) {
    text += cat('\n', dtype_name(tensor.dtype), to_string(tensor.shape), ' ')
                .append(static_cast<const char*>(tensor.data), std::min(tensor.bytes, kSample));
  };
  for (const WeightInfo& tensor : weights_.files().weights()) add(tensor);
  if (adapted_) {
    text += adapted_->structure();
    for (const Node& node : typical_graph().nodes)
      if (node.op == Op::weight)
        if (const ModelWeight* weight = adapted_->find(node.attrs.text("name")))
          for (const StoredTensor& part : weight->parts) add(part.info);
  }
  return hash128(text);
}

void Component::check_weights(const std::function<std::vector<Graph>()>& graphs, std::span<const std::string> ignored) const {
  if (package_ || look_ || cache().weights_checked()) return;
  std::vector<ExpectedWeight> expected;
  std::set<std::string> seen;
  for (const Graph& g : graphs())
    for (const Node& node : g.nodes)
      if (node.op == Op::weight && seen.insert(node.attrs.text("name")).second) expected.push_back({node.attrs.text("name"), node.shape});
  std::vector<std::string> unread(ignored.begin(), ignored.end());
  unread.insert(unread.end(), besides_.begin(), besides_.end());
  // Every start warns of tensors that are not used.
  if (weights_.check(expected, unread)) prepared_->cache.keep_weights_checked();
}

}  // namespace vivace
