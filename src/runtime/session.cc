#include "runtime/session.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/pool.h"
#include "runtime/kernel_call.h"
#include "vivace/error.h"

namespace vivace {
namespace {

const KernelEntry& entry_of(const Device& device, const PlanStep& step) {
  const KernelEntry* entry = device.find(step.kernel);
  if (!entry) throw InternalError(cat("the plan asks for kernel ", step.kernel, ", which device ", device.target().name, " lacks"));
  return *entry;
}

void grow(Device& device, std::shared_ptr<void>& pages, size_t& bytes, size_t wanted, Request& request) {
  if (pages && bytes >= wanted) return;
  pages.reset();  // before the new ones are taken
  pages = device.allocate(wanted);
  bytes = wanted;
  ++request.counters.allocations;
}

// How a store knows a checkpoint tensor that is used as it is.
std::string weight_key(const std::string& name) { return "weight " + name; }

size_t bytes_of(const PlanValue& value) { return static_cast<size_t>(value.type.bytes()); }

}  // namespace

Session::Session(std::shared_ptr<const Plan> plan, Device& device, ConstantStore& store, const WeightSource& weights, Request& request, SessionMemory memory)
    : plan_(std::move(plan)), constants_(plan_->values.size()), memory_(std::move(memory)), stream_(device.stream()) {
  const FixedThreads fixed(threads_);
  prepare(device, store, weights, request);
  size_t workspace = 0;
  for (const auto* program : {&plan_->setup, &plan_->step})
    for (const PlanStep& step : *program) {
      const KernelEntry& entry = entry_of(device, step);
      if (entry.workspace_bytes) workspace = std::max(workspace, entry.workspace_bytes(kernel_call(*plan_, step)));
    }
  grow(device, memory_.arena, memory_.arena_bytes, static_cast<size_t>(plan_->arena_bytes), request);
  grow(device, memory_.workspace, memory_.workspace_bytes, workspace, request);
  bind(device, plan_->setup, 0, setup_);
  bind(device, plan_->step, static_cast<int32_t>(plan_->setup.size()), step_);
}

// The call of the kernel that will read what `step` packs.
KernelCall Session::packing_call(const KernelEntry& entry, const PlanStep& step) const {
  KernelCall result = kernel_call(*plan_, plan_->program(step.consumer_phase)[static_cast<size_t>(step.consumer)]);
  const PlanValue& source = plan_->values[static_cast<size_t>(step.in[0])];
  result.in[static_cast<size_t>(entry.packed_input)] = Operand{source.type.dtype, source.type.shape, 0, true};
  return result;
}

size_t Session::constant_bytes(const Device& device, const PlanStep& step) const {
  const KernelEntry& entry = entry_of(device, step);
  return step.pack ? entry.packed_bytes(packing_call(entry, step)) : bytes_of(plan_->values[static_cast<size_t>(step.out)]);
}

void* Session::address(int32_t value) const {
  const PlanValue& v = plan_->values[static_cast<size_t>(value)];
  if (v.where == PlanValue::Where::arena) return static_cast<char*>(memory_.arena.get()) + v.offset;
  return constants_[static_cast<size_t>(value)].get();
}

// Runs what makes the missing constants, on buffers of their own that go when their last reader has run.
void Session::prepare(Device& device, ConstantStore& store, const WeightSource& weights, Request& request) {
  const auto& values = plan_->values;
  std::vector<uint8_t> needed(values.size());
  for (const auto* program : {&plan_->setup, &plan_->step})
    for (const PlanStep& step : *program)
      for (int32_t in : step.in)
        if (in >= 0 && values[static_cast<size_t>(in)].phase == Phase::prepare) needed[static_cast<size_t>(in)] = 1;
  for (const PlanPort& port : plan_->outputs)
    if (values[static_cast<size_t>(port.value)].phase == Phase::prepare) needed[static_cast<size_t>(port.value)] = 1;
  const std::vector<uint8_t> keep = needed;

  std::vector<int> readers(values.size());
  std::vector<uint8_t> runs(plan_->prepare.size());
  for (size_t i = plan_->prepare.size(); i-- > 0;) {
    const PlanStep& step = plan_->prepare[i];
    const auto out = static_cast<size_t>(step.out);
    if (!needed[out]) continue;
    if (auto found = store.find(values[out].key, constant_bytes(device, step))) {
      constants_[out] = std::move(found);
      continue;
    }
    runs[i] = 1;
    for (int32_t in : step.in)
      if (in >= 0) {
        needed[static_cast<size_t>(in)] = 1;
        ++readers[static_cast<size_t>(in)];
      }
  }
  // Weights that are used as they are stored need no copy beyond the mapping.
  for (size_t v = 0; v < values.size(); ++v)
    if (needed[v] && values[v].where == PlanValue::Where::weight) {
      constants_[v] = store.find(weight_key(values[v].key), bytes_of(values[v]));
      if (!constants_[v]) constants_[v] = std::shared_ptr<void>(const_cast<void*>(weights.find(values[v].key).data), [](void*) {});
    }

  for (size_t i = 0; i < plan_->prepare.size(); ++i) {
    if (!runs[i]) continue;
    const Turn turn(pool_turns(), request.stop);
    request.check();
    const PlanStep& step = plan_->prepare[i];
    const auto out = static_cast<size_t>(step.out);
    const KernelEntry& entry = entry_of(device, step);
    if (step.pack) {
      const KernelCall packed = packing_call(entry, step);
      const size_t bytes = entry.packed_bytes(packed);
      constants_[out] = store.allocate(bytes);
      entry.pack(packed, address(step.in[0]), step.in.size() > 1 ? address(step.in[1]) : nullptr, constants_[out].get());
      store.put(values[out].key, constants_[out], bytes);
    } else {
      const size_t bytes = bytes_of(values[out]);
      constants_[out] = keep[out] ? store.allocate(bytes) : device.allocate(bytes);
      const KernelCall c = kernel_call(*plan_, step);
      const std::shared_ptr<void> workspace = device.allocate(entry.workspace_bytes ? entry.workspace_bytes(c) : 0);
      Buffers buffers{.in = {}, .out = address(step.out), .workspace = workspace.get()};
      for (int32_t in : step.in) buffers.in.push_back(in < 0 ? nullptr : address(in));
      stream_->launch(*entry.bind(c, buffers));
      if (keep[out]) store.put(values[out].key, constants_[out], bytes);
    }
    ++request.counters.allocations;
    ++request.counters.constants_prepared;
    for (int32_t in : step.in) {
      const auto v = static_cast<size_t>(in);
      if (in < 0 || --readers[v] > 0 || keep[v]) continue;
      if (values[v].where == PlanValue::Where::weight) weights.release(values[v].key);
      constants_[v].reset();
    }
  }
}

std::vector<Constant> Session::constants(const Device& device) const {
  std::vector<size_t> bytes(constants_.size());
  for (const PlanStep& step : plan_->prepare)
    if (constants_[static_cast<size_t>(step.out)]) bytes[static_cast<size_t>(step.out)] = constant_bytes(device, step);
  std::vector<Constant> result;
  for (size_t v = 0; v < constants_.size(); ++v) {
    if (!constants_[v]) continue;
    const PlanValue& value = plan_->values[v];
    const bool stored = value.where == PlanValue::Where::weight;
    result.push_back({stored ? weight_key(value.key) : value.key, constants_[v], stored ? bytes_of(value) : bytes[v]});
  }
  return result;
}

void Session::bind(const Device& device, const std::vector<PlanStep>& steps, int32_t first_number, std::vector<std::unique_ptr<BoundKernel>>& bound) {
  bound.reserve(steps.size());
  for (const PlanStep& step : steps) {
    const auto number = first_number + static_cast<int32_t>(bound.size());
    Buffers buffers{.in = {}, .out = address(step.out), .workspace = memory_.workspace.get(), .bad_value = {first_bad_.get(), number}};
    for (int32_t in : step.in) buffers.in.push_back(in < 0 ? nullptr : address(in));
    bound.push_back(entry_of(device, step).bind(kernel_call(*plan_, step), buffers));
  }
}

Tensor Session::port(const std::vector<PlanPort>& ports, const std::string& name) {
  for (const PlanPort& p : ports) {
    if (p.name != name) continue;
    const TensorType& type = plan_->values[static_cast<size_t>(p.value)].type;
    return Tensor::view(type.shape, type.dtype, address(p.value), memory_.arena);
  }
  throw InternalError("the plan has no port \"" + name + "\"");
}

Tensor Session::input(const std::string& name) { return port(plan_->inputs, name); }
Tensor Session::output(const std::string& name) { return port(plan_->outputs, name); }

bool Session::has_input(const std::string& name) const { return std::ranges::count(plan_->inputs, name, &PlanPort::name) > 0; }
bool Session::has_output(const std::string& name) const { return std::ranges::count(plan_->outputs, name, &PlanPort::name) > 0; }

void Session::set_input(const std::string& name, const Tensor& value) {
  Tensor to = input(name);
  if (to.shape() != value.shape()) throw UsageError(cat("input \"", name, "\" has shape ", to_string(value.shape()), ", expected ", to_string(to.shape())));
  const Tensor converted = value.to(to.dtype());
  std::memcpy(to.data(), converted.data(), to.bytes());
}

void Session::check_quantized() {
  if (*first_bad_ < 0) return;
  const auto number = static_cast<size_t>(std::exchange(*first_bad_, -1)), setup = plan_->setup.size();
  const PlanStep& step = number < setup ? plan_->setup[number] : plan_->step[number - setup];
  throw UserError(cat("layer ", step.scope.empty() ? op_name(step.op) : step.scope, ": the activation to be quantised holds a NaN or an infinity"));
}

void Session::run(Phase phase, Request& request) {
  const Turn turn(pool_turns(), request.stop);
  const FixedThreads fixed(threads_);
  for (const auto& kernel : phase == Phase::setup ? setup_ : step_) {
    request.check();
    stream_->launch(*kernel);
  }
}

void Session::run_timed(Phase phase, Request& request, std::vector<double>& seconds) {
  const Turn turn(pool_turns(), request.stop);
  const FixedThreads fixed(threads_);
  const auto& kernels = phase == Phase::setup ? setup_ : step_;
  auto before = std::chrono::steady_clock::now();
  for (size_t i = 0; i < kernels.size(); ++i) {
    request.check();
    stream_->launch(*kernels[i]);
    const auto after = std::chrono::steady_clock::now();
    seconds[i] += std::chrono::duration<double>(after - before).count();
    before = after;
  }
}

}  // namespace vivace
