// What a prepared session does: its ports, its phases, the loop around its step.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/pool.h"
#include "runtime/session.h"
#include "runtime/step_loop.h"
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

void Session::fetch_quantized(Stream& stream) {
  if (bad_value_host_ != bad_value_) stream.copy_out(bad_value_host_.get(), bad_value_.get(), sizeof(int32_t));
}

void Session::wait(Request& request) {
  fetch_quantized(*stream_);
  wait_whole(request);
}

void Session::wait_for_device(Request& request, const BoundKernel* last) {
  try {
    stream_->wait(request.counters);
  } catch (const DeviceError& error) {
    const BoundKernel* const kernel = error.kernel ? error.kernel : last;
    std::string layer = layer_of(kernel);
    if (running_)
      for (const LoopModel& model : running_->models())
        if (layer.empty() && model.session != this) layer = model.session->layer_of(kernel);
    if (layer.empty()) throw;
    throw UserError(cat(error.what(), ", in kernel ", layer));
  }
}

std::string Session::layer_of(const BoundKernel* kernel) const {
  for (const auto& [calls, steps] : {std::pair{&setup_, &plan_->setup}, std::pair{&step_, &plan_->step}})
    for (size_t i = 0; i < calls->size(); ++i)
      if (const PlanStep& step = (*steps)[i]; (*calls)[i].kernel.get() == kernel)
        return cat(step.kernel, " of ", step.scope.empty() ? op_name(step.op) : step.scope);
  return {};
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
  throw NotFinite(cat("layer ", step.scope.empty() ? op_name(step.op) : step.scope, ": the activation to be quantised holds a NaN or an infinity"));
}

void Session::forget_quantized() {
  auto* first = static_cast<int32_t*>(bad_value_host_.get());
  *first = -1;
  stream_->copy_in(bad_value_.get(), first, sizeof(*first));
}

void Session::run(Call& call, Session& on, Request* request) {
  if (call.arrival) call.arrival->run(*on.stream_);
  if (call.on == Call::On::device) return on.stream_->launch(*call.kernel);
  if (call.on == Call::On::host) on.wait_for_device(*request);  // for what it reads
  call.kernel->run(*on.stream_);
}

void Session::run(std::vector<Call>& calls, Session& on, Request* request) {
  for (Call& call : calls) {
    if (request) request->check();
    run(call, on, request);
  }
  if (request) request->check();
}

bool Session::all_on_device(const std::vector<Call>& calls) {
  return std::ranges::all_of(calls, [](const Call& call) { return call.on == Call::On::device; });
}

template <class Put>
void Session::run_recorded(Recorded& recorded, const Put& put, Request& request) {
  request.check();
  if (recorded.recording) {
    recorded.recording->replay();
    ++request.counters.steps_replayed;
    return;
  }
  put(&request);
  if (!std::exchange(recorded.wanted, false)) return;
  recorded.recording = stream_->record([&] { put(nullptr); });
  if (recorded.recording) ++request.counters.steps_recorded;
}

void Session::run(Phase phase, Request& request) {
  const Turn turn(pool_turns(), request.stop);
  const FixedThreads fixed(program_->threads);
  stream_->stop = request.stop;
  if (phase == Phase::setup) return run(setup_, *this, &request);
  const auto put = [&](Request* checked) {
    run(step_, *this, checked);
    carry_states(*stream_);
  };
  run_recorded(recorded_, put, request);
}

void Session::put_step(StepLoop& loop, uint32_t left_out, Request* request) {
  for (size_t m = 0; m < loop.models().size(); ++m) {
    if (left_out >> m & 1) continue;
    const LoopModel& model = loop.models()[m];
    loop.put_before(*stream_, m);
    if (!model.given.empty()) model.session->run(model.session->setup_, *this, request);
    loop.put_feed(*stream_, m);
    model.session->run(model.session->step_, *this, request);
    model.session->carry_states(*stream_);
    loop.put_behind(*stream_, m);
  }
  loop.put_finish(*stream_);
}

StepLoop* Session::loop(const LoopCall& call, Request& request) {
  if (loop_ && loop_->fits(call)) return loop_.get();
  if (loop_) wait_for_device(request);  // an earlier request's steps, if it was stopped
  recorded_loop_.clear();
  loop_ = StepLoop::make(device_, call);
  return loop_.get();
}

void Session::begin(StepLoop& loop, std::span<const LoopStep> steps, const LoopStart& start, Request& request) {
  running_ = &loop;
  for (const LoopModel& model : loop.models())
    if (model.session != this) model.session->wait_for_device(request);  // its setup, which this stream knows nothing of
  loop.begin(*stream_, steps, start, request.counters);
}

int64_t Session::run(StepLoop& loop, const Tensor& noise, Request& request) {
  const Turn turn(pool_turns(), request.stop);
  const FixedThreads fixed(program_->threads);
  stream_->stop = request.stop;
  const uint32_t left_out = loop.next(*stream_, noise);
  const auto found = recorded_loop_.find(left_out);
  Recorded& recorded = found == recorded_loop_.end() ? recorded_loop_[left_out] : found->second;
  if (found == recorded_loop_.end())
    recorded.wanted = std::ranges::all_of(
        loop.models(), [](const LoopModel& m) { return m.session->records_ && (m.given.empty() || all_on_device(m.session->setup_)); });
  run_recorded(
      recorded, [&](Request* checked) { put_step(loop, left_out, checked); }, request);
  return stream_->mark();
}

void Session::read(StepLoop& loop, Request& request) {
  loop.fetch(*stream_);
  const auto others = [&](const auto& each) {
    for (const LoopModel& model : loop.models())
      if (model.session != this) each(*model.session);
  };
  others([&](Session& other) { other.fetch_quantized(*stream_); });
  wait(request);
  others([](Session& other) { other.check_quantized(); });
  check_quantized();
}

void Session::leave(StepLoop& loop, Request& request) noexcept {
  running_ = nullptr;
  if (std::ranges::all_of(loop.models(), [&](const LoopModel& model) { return model.session == this; })) return;
  try {
    stream_->wait(request.counters);
  } catch (const DeviceError&) {
    // Of a run that nobody waits for.
  }
}

void Session::run_timed(Phase phase, Request& request, std::vector<double>& seconds) {
  const Turn turn(pool_turns(), request.stop);
  const FixedThreads fixed(program_->threads);
  stream_->stop = request.stop;
  auto& calls = phase == Phase::setup ? setup_ : step_;
  auto before = std::chrono::steady_clock::now();
  for (size_t i = 0; i < calls.size(); ++i) {
    request.check();
    run(calls[i], *this, &request);
    wait_for_device(request, calls[i].kernel.get());
    const auto after = std::chrono::steady_clock::now();
    seconds[i] += std::chrono::duration<double>(after - before).count();
    before = after;
  }
  request.check();
  if (phase == Phase::step) carry_states(*stream_);
}

}  // namespace vivace
