// Session: runs a Plan. Mutable, one a request; plan, constants and weights are shared.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "runtime/constants.h"
#include "runtime/device.h"
#include "runtime/plan.h"
#include "runtime/program.h"
#include "runtime/request.h"

namespace vivace {

class StepLoop;  // step_loop.h
struct LoopCall;
struct LoopStart;
struct LoopStep;

// An input or output as the host sees it: row-major, dense. Where the device shares the host's memory `host` is the arena itself, and nothing is
// copied.
struct Port {
  Tensor host;
  void* memory = nullptr;  // the device's; nullptr where `host` is it
};

class Session {
 public:
  // `device` must outlive the session. Prepares the constants that `store` lacks, takes memory, binds every kernel. Throws Interrupted when the
  // request stops meanwhile.
  Session(std::shared_ptr<const Program> program, Device& device, ConstantStore& store, const WeightSource& weights, Request& request);
  // With a program of its own.
  Session(std::shared_ptr<const Plan> plan, Device& device, ConstantStore& store, const WeightSource& weights, Request& request)
      : Session(std::make_shared<const Program>(std::move(plan), device), device, store, weights, request) {}
  ~Session();

  const Plan& plan() const { return *plan_; }
  const Program& program() const { return *program_; }
  const Device& device() const { return device_; }
  // For a loop, which looks names up once: fill the input's `host`, send it, run, fetch the output, wait, read its `host`. Unknown name:
  // InternalError.
  Port input(const std::string& name);
  Port output(const std::string& name);
  void send(const Port& input);
  void fetch(const Port& output);  // there after the next wait()
  // All that was run and fetched is done. What there is to wait for counts as one of the request's host_device_syncs. Throws Interrupted where the
  // request has stopped, and so perhaps a kernel half way.
  void wait(Request& request);
  bool has_input(const std::string& name) const;
  bool has_output(const std::string& name) const;
  // Converts to the input's dtype. Throws UsageError when the shape differs.
  void write(const std::string& name, const Tensor& value);
  // Fetches, waits; a tensor of its own.
  Tensor read(const std::string& name, Request& request);

  // Throws UserError with the layer's name when an activation that had to be quantised held a NaN or an infinity before the last wait().
  void check_quantized();
  // What an earlier request left, which was stopped before it looked, is nobody's any more.
  void forget_quantized();

  // Puts the program on the device's stream. Throws Interrupted when the request is to stop, which is looked at between kernels and, by long ones,
  // within them; nothing but another setup may follow.
  void run(Phase phase, Request& request);
  // The same, waiting for each step and adding its seconds to `seconds` (one entry a step).
  void run_timed(Phase phase, Request& request, std::vector<double>& seconds);

  // The loop around the step that works on these buffers (step_loop.h), an earlier request's where it fits; nullptr where the device has none. The
  // step of this session is the last in it; what other sessions run in it is put on this one's stream.
  StepLoop* loop(const LoopCall& call, Request& request);
  // Waits for what those others have under way.
  void begin(StepLoop& loop, std::span<const LoopStep> steps, const LoopStart& start, Request& request);
  // Puts its next step on the stream: feeds the models, runs them, finishes. `noise`: what the step draws, or none. Returns the place behind it.
  int64_t run(StepLoop& loop, const Tensor& noise, Request& request);
  bool passed(int64_t mark) { return stream_->passed(mark); }
  // Fetches where it stands, and waits; throws what check_quantized() does.
  void read(StepLoop& loop, Request& request);
  // To be called before the others go: nothing of theirs is under way any more.
  void leave(StepLoop& loop, Request& request) noexcept;
  // No other session of the process has it, nor will have it.
  uint64_t number() const { return number_; }

  // What setup and step read that is not computed there: prepared constants, and weights that are used as the checkpoint stores them. A store that
  // holds these (ConstantStore::add_file) needs no checkpoint. `weights` is what it will know tensors by; only their origins are asked for.
  std::vector<Constant> constants(const WeightSource& weights = {}) const;

  // On the device and on the host.
  size_t resident_bytes() const { return program_->resident_bytes; }  // of its weights, as Program has it
  size_t arena_bytes() const { return static_cast<size_t>(plan_->arena_bytes + plan_->host_arena_bytes); }
  size_t workspace_bytes() const { return workspace_bytes_; }

 private:
  // A kernel or copy with where it runs.
  struct Call {
    std::unique_ptr<BoundKernel> kernel;
    enum class On : uint8_t { device, host, stream } on = On::device;  // stream: a copy, which is the stream's own
    std::unique_ptr<BoundKernel> arrival{};  // put on the stream ahead of it where waiting weights have to be there from here on
  };

  void* address(int32_t value) const;
  // Where a constant is kept.
  Memory kept_in(size_t value) const { return program_->weights.is_on_host(value) ? Memory::host : Memory::device; }
  std::shared_ptr<void>& kept(size_t value) { return kept_in(value) == Memory::host ? on_host_[value] : constants_[value]; }
  // Where the device reads a tensor of the checkpoint; where it is kept with `keep`.
  std::shared_ptr<void> weight(size_t value, ConstantStore& store, const WeightSource& weights, bool keep);
  // Takes what the store holds of the constants that setup, step and outputs read (`keep`); by prepare step, whether it has to run for the others.
  std::vector<uint8_t> look_up(ConstantStore& store, const std::vector<uint8_t>& keep);
  // Of a prepare step whose output has its memory. What it works on besides is added to `used`.
  Call prepare_call(size_t prepare_step, std::vector<std::shared_ptr<void>>& used) const;
  void prepare(ConstantStore& store, const WeightSource& weights, Request& request);
  // Weights of a segment have their addresses from here on. Puts copies of the next one's, and sees that they are there themselves.
  std::unique_ptr<BoundKernel> bind_arrival(const std::vector<WeightStream::Segment>& segments, size_t segment);
  // Kernels are numbered from `first_number` on, for the one that reports a bad value.
  void bind(Phase phase, int32_t first_number, std::vector<Call>& bound);
  // On the stream of `on`: this session, or one whose loop it is in. Without a request it is recorded: all of it is the device's, and nothing stops.
  void run(Call& call, Session& on, Request* request);
  void run(std::vector<Call>& calls, Session& on, Request* request);
  // What is put on the stream, or what was recorded of it.
  struct Recorded {
    bool wanted = false;                   // until it was tried
    std::unique_ptr<Recording> recording;  // nullptr: it runs kernel by kernel
  };
  // `put`: called with the request, and without one to be recorded.
  template <class Put>
  void run_recorded(Recorded& recorded, const Put& put, Request& request);
  // The loop's next step: each model of it, and what stands around them.
  void put_step(StepLoop& loop, uint32_t left_out, Request* request);
  static bool all_on_device(const std::vector<Call>& calls);
  // The number of the first kernel that reported a bad value, there after the next wait for `stream`.
  void fetch_quantized(Stream& stream);
  // The name of the layer that the kernel is of; "" where it is of none of this session's.
  std::string layer_of(const BoundKernel* kernel) const;
  // The stream's work is done. What the device reports gets the name of the layer that it was reported of, or else that of `last`.
  void wait_for_device(Request& request, const BoundKernel* last = nullptr);
  // The same, and none of it was stopped: throws Interrupted otherwise.
  void wait_whole(Request& request);
  Call::On runs_on(const PlanStep& step) const;
  std::unique_ptr<BoundKernel> bound_copy(const PlanStep& step) const;
  void label_values() const;
  Port port(const std::vector<PlanPort>& ports, const std::string& name);
  // After a step: each state takes over what the step made of it.
  void carry_states(Stream& stream);

  std::shared_ptr<const Program> program_;
  std::shared_ptr<const Plan> plan_;  // the program's
  Device& device_;
  std::vector<ConstantId> ids_;                                            // by value
  std::vector<std::shared_ptr<void>> constants_;                           // by value; null where it is none
  std::vector<std::shared_ptr<void>> on_host_;                             // by value: WeightStream::on_host, in Memory::host
  std::shared_ptr<void> lanes_;                                            // that they come through
  std::vector<std::shared_ptr<void>> staging_;                             // by value, of ports; null where the host reads the arena
  std::shared_ptr<void> arena_, workspace_, host_arena_, host_workspace_;  // the latter for kernels that run on the host
  size_t workspace_bytes_ = 0;
  std::vector<Call> setup_, step_;
  bool records_ = false;                              // plan_->record, where all of the step is the device's
  std::vector<std::pair<int32_t, int32_t>> states_;   // values: an input, and the output that it becomes
  std::shared_ptr<void> bad_value_, bad_value_host_;  // the number of the first kernel that reported one, on the device and as last fetched
  const uint64_t number_;
  std::unique_ptr<StepLoop> loop_;
  StepLoop* running_ = nullptr;     // between begin() and leave()
  std::unique_ptr<Stream> stream_;  // behind what it may still use when it goes
  Recorded recorded_;
  std::map<uint32_t, Recorded> recorded_loop_;  // by the models that a step leaves out (LoopStep::left_out)
};

}  // namespace vivace
