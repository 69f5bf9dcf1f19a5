// Session: runs a Plan. Mutable, one a request; plan, constants and weights are shared.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "runtime/constants.h"
#include "runtime/device.h"
#include "runtime/plan.h"
#include "runtime/request.h"

namespace vivace {

// A checkpoint tensor, where it lies in its mapped file.
struct WeightBytes {
  DType dtype = DType::float32;
  const void* data = nullptr;
};
struct WeightSource {
  std::function<WeightBytes(const std::string& name)> find;
  // The pages of this tensor will not be read again.
  std::function<void(const std::string& name)> release;
};

// Pages that one session leaves to the next, which takes new ones only where these are too small.
struct SessionMemory {
  std::shared_ptr<void> arena, workspace;
  size_t arena_bytes = 0, workspace_bytes = 0;
};

class Session {
 public:
  // Prepares the constants that `store` lacks, takes memory, binds every kernel. Throws Interrupted when the request stops meanwhile.
  Session(std::shared_ptr<const Plan> plan, Device& device, ConstantStore& store, const WeightSource& weights, Request& request, SessionMemory memory = {});

  const Plan& plan() const { return *plan_; }
  // A view of the buffer of an input or output; row-major, dense. Unknown name: InternalError.
  Tensor input(const std::string& name);
  Tensor output(const std::string& name);
  bool has_input(const std::string& name) const;
  bool has_output(const std::string& name) const;
  // Converts to the input's dtype. Throws UsageError when the shape differs.
  void set_input(const std::string& name, const Tensor& value);

  // Throws UserError with the layer's name when an activation that had to be quantised held a NaN or an infinity since the last call.
  void check_quantized();

  // Throws Interrupted when the request is to stop, which is looked at before each kernel; nothing but another setup may follow.
  void run(Phase phase, Request& request);
  // The same, adding each step's seconds to `seconds` (one entry a step).
  void run_timed(Phase phase, Request& request, std::vector<double>& seconds);

  // What setup and step read that is not computed there: prepared constants, and weights that are used as the checkpoint stores them. A store that
  // holds these (ConstantStore::add_file) needs no checkpoint.
  std::vector<Constant> constants(const Device& device) const;

  size_t arena_bytes() const { return memory_.arena_bytes; }
  size_t workspace_bytes() const { return memory_.workspace_bytes; }
  // Nothing but destruction may follow.
  SessionMemory take_memory() { return std::move(memory_); }

 private:
  KernelCall packing_call(const KernelEntry& entry, const PlanStep& step) const;
  // What the output of a prepare step takes.
  size_t constant_bytes(const Device& device, const PlanStep& step) const;
  void* address(int32_t value) const;
  void prepare(Device& device, ConstantStore& store, const WeightSource& weights, Request& request);
  // Kernels are numbered from `first_number` on, for the one that reports a bad value.
  void bind(const Device& device, const std::vector<PlanStep>& steps, int32_t first_number, std::vector<std::unique_ptr<BoundKernel>>& bound);
  Tensor port(const std::vector<PlanPort>& ports, const std::string& name);

  std::shared_ptr<const Plan> plan_;
  std::vector<std::shared_ptr<void>> constants_;  // by value; null where it is none
  SessionMemory memory_;
  std::unique_ptr<Stream> stream_;
  const int threads_ = num_threads();  // that kernels are bound for and run on
  std::vector<std::unique_ptr<BoundKernel>> setup_, step_;
  std::unique_ptr<int32_t> first_bad_ = std::make_unique<int32_t>(-1);  // the number of the kernel; where it lies is known to all of them
};

}  // namespace vivace
