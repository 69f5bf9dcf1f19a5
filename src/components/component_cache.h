// What a component keeps on disk between starts, so that the next one compiles nothing and packs nothing: plans and prepared weights.
#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "base/cache_folder.h"
#include "runtime/constants.h"
#include "runtime/device.h"
#include "runtime/kernel.h"
#include "runtime/plan.h"
#include "vivace/compile.h"
#include "weights/weight_stack.h"

namespace vivace {

// Of a config's text, the names, types and shapes of weights, and the layers over them: equal ones make equal graphs.
std::string model_hash(const std::string& config, const WeightStack& weights);

class ComponentCache {
 public:
  // Keeps nothing.
  ComponentCache() = default;
  // `config` is the text of the component's config.json. Plans are kept by model_hash, compile options, the device and this build: what the weights
  // hold is no part of a plan. Prepared weights and what was measured are kept by what the weights hold, which nothing
  // is read for before it is asked for.
  ComponentCache(CacheFolder folder, const std::string& component, const std::string& config, const WeightStack& weights,
                 std::shared_ptr<Device> device);
  // Waits for what is being written.
  ~ComponentCache();
  ComponentCache(const ComponentCache&) = delete;
  ComponentCache& operator=(const ComponentCache&) = delete;
  ComponentCache& operator=(ComponentCache&& other) noexcept;

  // nullopt where none is kept that can be used here. `key` says which graph of the component.
  std::optional<Plan> plan(const std::string& key, const CompileOptions& options) const;
  void keep(const std::string& key, const CompileOptions& options, const Plan& plan) const;

  // Gives the store what earlier starts prepared. The first call does; others have nothing to add. Where the checkpoint is new it is read first:
  // Interrupted once `stop` is asked for meanwhile.
  void load_constants(ConstantStore& store, const std::stop_token& stop = {});
  // In the background: the first picture must not wait for gigabytes to be written. What the store has prepared since the last call.
  void keep_constants(ConstantStore& store);
  // Waits until what is being kept has been written; the next load_constants() looks anew.
  void forget_constants();

  // What was measured with these weights on this machine, as text; `key` says what.
  std::optional<std::string> measured(const std::string& key) const;
  void keep_measured(const std::string& key, const std::string& text) const;

  // Whether an earlier start has found that these weights are those that the config asks for.
  bool weights_checked() const;
  void keep_weights_checked() const;

 private:
  std::string plan_key(const std::string& key, const CompileOptions& options) const;
  std::string measured_key(const std::string& key) const;
  // Of the prepared weights: a later size may need some in other layouts, which are kept as another part.
  std::string part_name(int part) const;
  std::string contents() const;

  CacheFolder folder_;
  std::string component_;
  std::shared_ptr<Device> device_;
  std::string model_;  // model_hash
  std::shared_ptr<const WeightOrigins> origins_;
  bool loaded_ = false;
  std::thread writing_;
};

}  // namespace vivace
