// Component: one model of a checkpoint with its weights, and plans and sessions for the ways it has been called.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "compiler/tuning_store.h"
#include "components/component_cache.h"
#include "components/graph_request.h"
#include "components/package.h"
#include "components/plan_shelf.h"
#include "components/prepared_weights.h"
#include "runtime/memory_need.h"
#include "runtime/session_pool.h"
#include "vivace/models.h"
#include "weights/weight_stack.h"

namespace vivace {

// Weights of a component that do not lie in its folder.
struct ComponentWeights {
  WeightMap files;
  WeightLayers layers;
  std::vector<std::string> besides;  // tensors of the files that are no part of the model, as in check_weights
};

// How a component is opened.
struct ComponentOptions : ModelOptions {
  ComponentOptions() = default;
  ComponentOptions(const ModelOptions& options) : ModelOptions(options) {}
  std::shared_ptr<const ComponentWeights> weights;  // instead of the folder's own, which then has the config alone
  std::string class_name;                           // that model_index.json names, where it does: "CLIPTextModelWithProjection"
  bool look = false;  // for tools that look at plans: weights may be missing, they are not checked, and nothing is kept but what was tuned
};

class [[gnu::visibility("hidden")]] Component {
 public:
  // `name` is the component's folder, for messages: "unet". `tuning` is where max-autotune keeps what it finds. Sessions that are lent take half of
  // the device's memory at most.
  Component(std::string name, WeightMap weights, DType dtype, CompileOptions options, CacheFolder tuning, std::shared_ptr<Device> device,
            const SessionLimits& limits = {});
  // `folder` is a component of a checkpoint, whose plans and prepared weights are kept in the cache, or of a package, which holds them.
  // Throws UsageError for a dtype that is none to compute in, or for a dtype or compiling that a package does not have.
  Component(const std::filesystem::path& folder, const ComponentOptions& options);
  virtual ~Component() = default;

  const std::string& name() const { return name_; }
  const WeightStack& weights() const { return weights_; }  // of the checkpoint, without adapters
  DType dtype() const { return dtype_; }
  // As compiled. `function` of a request, as "decode" of a VAE, may be compiled in a way of its own.
  CompileOptions options(const std::string& function = "") const;
  const ComponentCache& cache() const { return prepared_->cache; }
  Device& device() const { return *device_; }

  // A session for the request, with its sdpa_kernel scope, lent until the lease ends; any thread may ask. A plan that can be resized to it is, the
  // cache's and a package's too; without one it compiles. UserError naming the plans that there are where a package has none for it. Interrupted once
  // `request` is to stop, while it waits for others too.
  SessionLease lease(const GraphRequest& wanted, Request& request) const;
  // What lease() would take for the requests, one after another, where nothing is prepared. Finds or compiles the plans, as that does.
  // With `resident_bytes` of the weights on the device (weight_stream.h).
  MemoryNeed memory_need(std::span<const GraphRequest> wanted, Request & request, size_t resident_bytes = kAllResident) const;
  // The same, were it compiled so.
  MemoryNeed memory_need(std::span<const GraphRequest> wanted, const CompileOptions& options) const;
  // Prepared weights and idle sessions go, and pages of the checkpoint. A later lease() makes the weights again, or finds them in the cache. Requests
  // under way keep theirs. Of weights that lie in the host's memory (keep_resident) their copies on the device go.
  void give_back(Request & request) const;
  // From the next lease on all weights are kept in the host's memory, and so much of them is on the device; the rest is copied there as it is read.
  // Idle sessions of another amount go. On a device that shares the host's memory nothing changes.
  void keep_resident(size_t bytes, Request & request) const;
  size_t resident_bytes() const { return resident_; }
  // Of all functions, or of one alone. Not while a request is under way. These forget plans and sessions; prepared weights stay. Of a package, which
  // is compiled already, UsageError.
  void compile(const CompileOptions& options, const std::string& function = "");
  void fuse_qkv_projections(bool fuse);
  // Runs on another device. Plans and sessions are forgotten, prepared weights are those of that device.
  void to(const std::shared_ptr<Device>& device);
  // Adds to options().quantize, now and after every later compile().
  void quantize(const std::map<std::string, Quantization>& layers);
  // Adapters over the checkpoint's weights, from the next call on. Plans are kept by WeightLayer::structure: where that stays none is compiled; and
  // no weight is prepared again but those that differ. Not while a request is under way. UsageError for a package.
  void set_adapters(const WeightLayers& adapters);
  bool has_adapters() const { return adapted_.has_value(); }
  // The classes of Diffusers' _repeated_blocks.
  virtual std::vector<std::string> repeated_blocks() const { return {}; }
  // The request's graph before any pass, and its plan; a dynamic one is made for the sizes lease() would make it for. UsageError for a package.
  Graph graph(const GraphRequest& request) const;
  Plan plan(const GraphRequest& wanted, Request& request) const;

  // The graph at the model's own size, which filters look at and measurements take for typical. InternalError where set_typical was not called.
  Graph typical_graph() const;

  bool is_packaged() const { return package_ != nullptr; }
  int64_t num_parameters() const { return package_ ? package_->parameters() : weights_.files().total_elements(); }
  const std::string& variant() const { return variant_; }
  // The plans by key, serialized, and what their sessions read that is prepared: for a package, which holds adapters as a part of the weights and
  // knows nothing of them.
  std::map<std::string, std::string> plans_as_bytes() const;
  // While it is held, no plan is forgotten for other sizes: a package has those of all of its calls.
  PlanShelf::Keeping keep_plans() const { return plans_.keep(); }
  std::vector<Constant> constants() const;

  // WeightStack::check of what the graphs need. They are built only where no earlier start has checked the same.
  void check_weights(const std::function<std::vector<Graph>()>& graphs, std::span<const std::string> ignored = {}) const;
  // Of what its weights hold, adapters included, by the types and the first bytes of each: for processes that are to have the same ones, wherever
  // these lie.
  Hash128 sampled_weights() const;
  size_t constant_bytes() const { return prepared_->store.bytes(); }
  size_t host_bytes() const { return prepared_->store.bytes(Memory::host); }
  // Of sessions, lent and kept.
  size_t arena_bytes() const { return sessions_.bytes(); }
  size_t held_bytes() const { return constant_bytes() + arena_bytes(); }
  // What of it nobody else can have: not what lies in mapped files.
  size_t taken_bytes() const { return prepared_->store.taken_bytes() + arena_bytes(); }
  double seconds_compiling() const { return seconds_compiling_; }
  double seconds_preparing() const { return seconds_preparing_; }
  double seconds_resizing() const { return seconds_resizing_; }

 protected:
  void set_typical(GraphRequest request) { typical_ = std::move(request); }

 private:
  CompileOptions options(const std::string& function, const Request& request) const;
  // What components of this checkpoint have prepared on this device is shared with them, and kept as the cache options say.
  void share_prepared(const CacheFolder& cache);
  void use(std::shared_ptr<PreparedWeights> prepared);  // of device_
  // Constants that the package holds are found from now on; false where it holds none.
  bool add_packaged_weights() const;
  // The plan for the request, of its sizes.
  std::shared_ptr<const Plan> find_plan(const GraphRequest& wanted, Request& request) const;
  std::optional<Plan> kept_plan(const std::string& key, const CompileOptions& options, Request& request) const;
  std::shared_ptr<const Plan> resized(const std::shared_ptr<const Plan>& plan, const GraphRequest& wanted, Request& request) const;
  std::unique_ptr<Session> make_session(const std::shared_ptr<const Plan>& plan, Request& request) const;
  void forget_plans();
  // Under prepared_->turns.
  void forget_prepared() const;
  void leave_device() const;  // what lies in the host's memory stays
  void check_unpackaged() const;
  void check_reads(const Plan& plan) const;
  // What the keys of plans end in: which adapters these are for.
  std::string adapters_key() const;
  const WeightStack& adapted() const { return adapted_ ? *adapted_ : weights_; }
  WeightSource source() const;

  std::string name_, variant_;
  std::vector<std::string> besides_;
  bool look_ = false;
  WeightStack weights_;                 // the checkpoint's
  std::optional<WeightStack> adapted_;  // the same under adapters
  DType dtype_;
  CompileOptions options_;
  std::map<std::string, CompileOptions> function_options_;  // of the functions that differ
  std::map<std::string, Quantization> quantization_;
  std::optional<GraphRequest> typical_;
  std::shared_ptr<Device> device_;
  std::string config_;  // the text of config.json; "" where nothing is shared or kept
  CacheOptions cache_options_;
  std::shared_ptr<const ComponentPackage> package_;  // nullptr: a checkpoint
  // What requests share, each part with a lock of its own.
  mutable TuningStore tuning_;
  std::shared_ptr<PreparedWeights> prepared_;
  mutable PlanShelf plans_;  // by function and dtype, and where plans are static by size
  mutable SessionPool sessions_;
  mutable std::mutex needs_mutex_;
  // Of plans that were asked for, by what stays on the device.
  mutable std::map<std::weak_ptr<const Plan>, std::map<size_t, MemoryNeed>, std::owner_less<>> needs_;
  mutable std::atomic<size_t> resident_ = kAllResident;
  // Under prepared_->turns.
  mutable std::weak_ptr<const Program> program_;  // of the session made last, for another one of its plan
  mutable std::map<ConstantId, Constant> read_;   // what sessions read that is prepared, by what a package knows it by
  mutable std::set<ConstantId> used_, unused_;    // what sessions are made of; what they were made of before the adapters changed
  std::unique_ptr<PreparedWeights::User> user_;   // of prepared_; goes before what it drops
  mutable std::atomic<double> seconds_compiling_ = 0, seconds_preparing_ = 0, seconds_resizing_ = 0;
};

}  // namespace vivace
