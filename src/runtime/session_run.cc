// What a prepared session does: its ports, its phases, the loop around its step.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/pool.h"
#include "runtime/session.h"
#include "vivace/error.h"

namespace vivace {

Port Session::port(const std::vector<PlanPort>& ports, const std::string& name) {
  for (const PlanPort& p : ports) {
    if (p.name != name) continue;
    const TensorType& type = plan_->values[static_cast<size_t>(p.value)].type;
    if (device_.shares_host_memory()) return {Tensor::view(type.shape, type.dtype, address(p.value), arena_), nullptr};
    std::shared_ptr<void>& staging = staging_[static_cast<size_t>(p.value)];
    if (!staging) staging = device_.allocate(static_cast<size_t>(type.bytes()), Memory::host);
    return {Tensor::view(type.shape, type.dtype, staging.get(), staging), address(p.value)};
  }
  throw InternalError("the plan has no port \"" + name + "\"");
}

Port Session::input(const std::string& name) { return port(plan_->inputs, name); }
Port Session::output(const std::string& name) { return port(plan_->outputs, name); }

void Session::send(const Port& input) {
  if (input.memory) stream_->copy_in(input.memory, input.host.data(), input.host.bytes());
}

void Session::fetch(const Port& output) {
  if (output.memory) stream_->copy_out(const_cast<void*>(output.host.data()), output.memory, output.host.bytes());
}

void Session::wait(Request& request) {
  if (bad_value_host_ != bad_value_) stream_->copy_out(bad_value_host_.get(), bad_value_.get(), sizeof(int32_t));
  wait_whole(request);
}

void Session::wait_for_device(Request& request, const BoundKernel* last) {
  try {
    stream_->wait(request.counters);
  } catch (const DeviceError& error) {
    const BoundKernel* const kernel = error.kernel ? error.kernel : last;
    for (const auto& [calls, steps] : {std::pair{&setup_, &plan_->setup}, std::pair{&step_, &plan_->step}})
      for (size_t i = 0; i < calls->size(); ++i)
        if (const PlanStep& step = (*steps)[i]; (*calls)[i].kernel.get() == kernel)
          throw UserError(cat(error.what(), ", in kernel ", step.kernel, " of ", step.scope.empty() ? op_name(step.op) : step.scope));
    throw;
  }
}

void Session::wait_whole(Request& request) {
  wait_for_device(request);
  request.check();
}

bool Session::has_input(const std::string& name) const { return std::ranges::count(plan_->inputs, name, &PlanPort::name) > 0; }
bool Session::has_output(const std::string& name) const { return std::ranges::count(plan_->outputs, name, &PlanPort::name) > 0; }

void Session::write(const std::string& name, const Tensor& value) {
  const Port to = input(name);
  if (to.host.shape() != value.shape())
    throw UsageError(cat("input \"", name, "\" has shape ", to_string(value.shape()), ", expected ", to_string(to.host.shape())));
  const Tensor converted = value.to(to.host.dtype());
  std::memcpy(const_cast<void*>(to.host.data()), converted.data(), converted.bytes());
  send(to);
}

Tensor Session::read(const std::string& name, Request& request) {
  const Port from = output(name);
  fetch(from);
  wait(request);
  return from.host.clone();
}

void Session::check_quantized() {
  auto* first = static_cast<int32_t*>(bad_value_host_.get());
  if (*first < 0) return;
  const auto number = static_cast<size_t>(std::exchange(*first, -1)), setup = plan_->setup.size();
  stream_->copy_in(bad_value_.get(), first, sizeof(*first));
  const PlanStep& step = number < setup ? plan_->setup[number] : plan_->step[number - setup];
  throw UserError(cat("layer ", step.scope.empty() ? op_name(step.op) : step.scope, ": the activation to be quantised holds a NaN or an infinity"));
}

void Session::forget_quantized() {
  auto* first = static_cast<int32_t*>(bad_value_host_.get());
  *first = -1;
  stream_->copy_in(bad_value_.get(), first, sizeof(*first));
}

void Session::run(Call& call, Request& request) {
  if (call.on == Call::On::device) return stream_->launch(*call.kernel);
  if (call.on == Call::On::host) wait_for_device(request);  // for what it reads
  call.kernel->run(*stream_);
}

void Session::run(Phase phase, Request& request) {
  const Turn turn(pool_turns(), request.stop);
  const FixedThreads fixed(program_->threads);
  stream_->stop = request.stop;
  if (phase == Phase::step) return run_step(recorded_, nullptr, request);
  for (Call& call : setup_) {
    request.check();
    run(call, request);
  }
  request.check();
}

void Session::run_step(Recorded& recorded, StepLoop* loop, Request& request) {
  request.check();
  if (recorded.recording) {
    recorded.recording->replay();
    ++request.counters.steps_replayed;
    return;
  }
  if (loop) stream_->launch(loop->feed());
  for (Call& call : step_) {
    run(call, request);
    request.check();
  }
  const auto end = [&] {
    carry_states();
    if (loop) stream_->launch(loop->finish());
  };
  end();
  if (!std::exchange(recorded.wanted, false)) return;
  recorded.recording = stream_->record([&] {
    if (loop) stream_->launch(loop->feed());
    for (Call& call : step_) stream_->launch(*call.kernel);
    end();
  });
  if (recorded.recording) ++request.counters.steps_recorded;
}

StepLoop* Session::loop(const LoopCall& call, Request& request) {
  if (loop_ && loop_->fits(call)) return loop_.get();
  if (loop_) wait_for_device(request);  // an earlier request's steps, if it was stopped
  recorded_loop_ = {};
  loop_ = StepLoop::make(device_, call);
  recorded_loop_.wanted = records_;
  return loop_.get();
}

void Session::begin(StepLoop& loop, std::span<const LoopStep> steps, const Bounds& bounds, const Tensor& latents, const Tensor& beside,
                    Request& request) {
  loop.begin(*stream_, steps, bounds, latents, beside, request.counters);
}

int64_t Session::run(StepLoop& loop, const Tensor& noise, Request& request) {
  const Turn turn(pool_turns(), request.stop);
  const FixedThreads fixed(program_->threads);
  stream_->stop = request.stop;
  if (noise.defined()) loop.put_noise(*stream_, noise);
  run_step(recorded_loop_, &loop, request);
  return stream_->mark();
}

void Session::read(StepLoop& loop, Request& request) {
  loop.fetch(*stream_);
  wait(request);
  check_quantized();
}

void Session::run_timed(Phase phase, Request& request, std::vector<double>& seconds) {
  const Turn turn(pool_turns(), request.stop);
  const FixedThreads fixed(program_->threads);
  stream_->stop = request.stop;
  auto& calls = phase == Phase::setup ? setup_ : step_;
  auto before = std::chrono::steady_clock::now();
  for (size_t i = 0; i < calls.size(); ++i) {
    request.check();
    run(calls[i], request);
    wait_for_device(request, calls[i].kernel.get());
    const auto after = std::chrono::steady_clock::now();
    seconds[i] += std::chrono::duration<double>(after - before).count();
    before = after;
  }
  request.check();
  if (phase == Phase::step) carry_states();
}

}  // namespace vivace
