#include "runtime/session.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <utility>

#include "base/log.h"
#include "base/pool.h"
#include "runtime/memory_need.h"
#include "runtime/step_loop.h"
#include "vivace/error.h"

namespace vivace {
namespace {

size_t bytes_of(const PlanValue& value) { return static_cast<size_t>(value.type.bytes()); }

uint64_t next_number() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

}  // namespace

Session::Session(std::shared_ptr<const Program> program, Device& device, ConstantStore& store, const WeightSource& weights, Request& request)
    : program_(std::move(program)),
      plan_(program_->plan),
      device_(device),
      constants_(plan_->values.size()),
      on_host_(plan_->values.size()),
      staging_(plan_->values.size()),
      number_(next_number()),
      stream_(device.stream()) {
  const FixedThreads fixed(program_->threads);
  prepare(store, weights, request);
  const Workspaces work = workspaces(*program_);
  const auto take = [&](size_t bytes, Memory memory) {
    ++request.counters.allocations;
    return device.allocate(bytes, memory);
  };
  arena_ = take(static_cast<size_t>(plan_->arena_bytes), Memory::device);
  workspace_ = take(work.device, Memory::device);
  if (plan_->host_arena_bytes > 0) host_arena_ = take(static_cast<size_t>(plan_->host_arena_bytes), Memory::host);
  if (work.host > 0) host_workspace_ = take(work.host, Memory::host);
  workspace_bytes_ = work.device + work.host;
  if (const size_t lanes = Stream::kLanes * program_->weights.lane_bytes; lanes > 0) {
    lanes_ = take(lanes, Memory::device);
    workspace_bytes_ += lanes;
  }
  constexpr int32_t kNone = -1;
  bad_value_ = device.allocate(sizeof(kNone));
  bad_value_host_ = device.shares_host_memory() ? bad_value_ : device.allocate(sizeof(kNone), Memory::host);
  *static_cast<int32_t*>(bad_value_host_.get()) = kNone;
  stream_->copy_in(bad_value_.get(), &kNone, sizeof(kNone));
  label_values();
  bind(Phase::setup, 0, setup_);
  bind(Phase::step, static_cast<int32_t>(plan_->setup.size()), step_);
  for (const PlanPort& port : plan_->inputs)
    if (!port.state.empty()) states_.emplace_back(port.value, std::ranges::find(plan_->outputs, port.state, &PlanPort::name)->value);
  records_ = plan_->record && all_on_device(step_);
  recorded_.wanted = records_;
}

Session::~Session() = default;

void Session::carry_states(Stream& stream) {
  for (const auto& [state, next] : states_)
    if (address(state) != address(next)) stream.copy(address(state), address(next), bytes_of(plan_->values[static_cast<size_t>(state)]));
}

void* Session::address(int32_t value) const {
  const PlanValue& v = plan_->values[static_cast<size_t>(value)];
  if (v.where == PlanValue::Where::arena) return static_cast<char*>((v.memory == Memory::host ? host_arena_ : arena_).get()) + v.offset;
  return constants_[static_cast<size_t>(value)].get();
}

Session::Call::On Session::runs_on(const PlanStep& step) const {
  if (step.copy) return Call::On::stream;
  return plan_->values[static_cast<size_t>(step.out)].memory == Memory::host ? Call::On::host : Call::On::device;
}

std::unique_ptr<BoundKernel> Session::bound_copy(const PlanStep& step) const {
  void *from = address(step.in[0]), *to = address(step.out);
  const size_t bytes = bytes_of(plan_->values[static_cast<size_t>(step.out)]);
  if (plan_->values[static_cast<size_t>(step.out)].memory == Memory::host) return bound([=](Stream& stream) { stream.copy_out(to, from, bytes); });
  return bound([=](Stream& stream) { stream.copy_in(to, from, bytes); });
}

std::shared_ptr<void> Session::weight(size_t value, ConstantStore& store, const WeightSource& weights, bool keep) {
  const PlanValue& v = plan_->values[value];
  const size_t bytes = bytes_of(v);
  const Memory memory = keep ? kept_in(value) : Memory::device;
  if (std::shared_ptr<void> stored = store.find(ids_[value], bytes, *stream_, memory)) return stored;
  const WeightBytes found = weights.find(v.key);
  void* data = const_cast<void*>(found.data);
  // Weights that are used as they are stored need no copy beyond the mapping.
  if (device_.shares_host_memory()) return {data, [](void*) {}};
  std::shared_ptr<void> copy = copy_for(device_, memory, *stream_, data, bytes);
  if (keep) store.put({ids_[value], copy, bytes, memory}, false);
  return copy;
}

std::vector<uint8_t> Session::look_up(ConstantStore& store, const std::vector<uint8_t>& keep) {
  const auto& values = plan_->values;
  std::vector<uint8_t> runs(plan_->prepare.size());
  do {
    std::vector<uint8_t> needed = keep;
    constants_.assign(values.size(), nullptr);
    on_host_.assign(values.size(), nullptr);
    std::ranges::fill(runs, uint8_t{0});
    for (size_t i = plan_->prepare.size(); i-- > 0;) {
      const PlanStep& step = plan_->prepare[i];
      const auto out = static_cast<size_t>(step.out);
      if (!needed[out]) continue;
      if (values[out].memory == Memory::device) kept(out) = store.find(ids_[out], prepared_bytes(*program_, i), *stream_, kept_in(out));
      if (kept(out)) continue;
      runs[i] = 1;
      for (int32_t in : step.in)
        if (in >= 0) needed[static_cast<size_t>(in)] = 1;
    }
    // A package holds those that are used as they are stored.
    for (size_t v = 0; v < values.size(); ++v)
      if (needed[v] && values[v].where == PlanValue::Where::weight) kept(v) = store.find(ids_[v], bytes_of(values[v]), *stream_, kept_in(v));
  } while (!store.check_found(stream_->stop));
  return runs;
}

// Runs what makes the missing constants, on buffers of their own that go when their last reader has run.
void Session::prepare(ConstantStore& store, const WeightSource& weights, Request& request) {
  const auto& values = plan_->values;
  const std::vector<uint8_t> keep = values_to_keep(*plan_);
  stream_->stop = request.stop;
  ids_ = constant_ids(*program_, weights);
  std::vector<uint8_t> replaceable(values.size());
  if (weights.replaceable) {
    for (size_t v = 0; v < values.size(); ++v) replaceable[v] = values[v].where == PlanValue::Where::weight && weights.replaceable(values[v].key);
    for (const PlanStep& step : plan_->prepare)
      for (int32_t in : step.in)
        if (in >= 0) replaceable[static_cast<size_t>(step.out)] |= replaceable[static_cast<size_t>(in)];
  }
  const std::vector<uint8_t> runs = look_up(store, keep);
  std::vector<uint8_t> needed = keep;
  std::vector<int> readers(values.size());
  for (size_t i = 0; i < runs.size(); ++i)
    if (runs[i])
      for (int32_t in : plan_->prepare[i].in)
        if (in >= 0) {
          needed[static_cast<size_t>(in)] = 1;
          ++readers[static_cast<size_t>(in)];
        }
  for (size_t v = 0; v < values.size(); ++v)
    if (values[v].where == PlanValue::Where::weight && !kept(v) && (device_.shares_host_memory() ? needed[v] : keep[v]))
      kept(v) = weight(v, store, weights, true);

  // What the stream may still use, until a wait, and what it makes for the store: known to be whole once the wait was not stopped.
  std::vector<std::shared_ptr<void>> used;
  std::vector<Call> calls;
  // Where this is left early they go, and nothing may use them any more.
  const struct Drained {
    Stream& stream;
    RequestCounters& counters;
    ~Drained() {
      if (std::uncaught_exceptions() == 0) return;
      try {
        stream.wait(counters);
      } catch (const DeviceError&) {
      }
    }
  } drained{*stream_, request.counters};
  struct Made {
    Constant constant;
    bool fresh;
  };
  std::vector<Made> made;
  size_t used_bytes = 0;
  constexpr size_t kMostUsed = size_t{256} << 20;
  const auto found = [&](size_t value, size_t bytes) {
    const auto same = std::ranges::find_if(made, [&](const Made& m) { return m.constant.id == ids_[value] && m.constant.memory == kept_in(value); });
    return same != made.end() ? same->constant.data : store.find(ids_[value], bytes, *stream_, kept_in(value));
  };
  const auto let_go = [&] {
    wait_whole(request);
    for (const auto& [constant, fresh] : made) store.put(constant, fresh);
    made.clear();
    used.clear();
    calls.clear();
    used_bytes = 0;
  };
  for (size_t i = 0; i < plan_->prepare.size(); ++i) {
    if (!runs[i]) continue;
    const Turn turn(pool_turns(), request.stop);
    request.check();
    const PlanStep& step = plan_->prepare[i];
    const auto out = static_cast<size_t>(step.out);
    for (int32_t in : step.in) {
      const auto v = static_cast<size_t>(in);
      if (in < 0 || constants_[v]) continue;
      constants_[v] = on_host_[v] ? upload_pinned(device_, *stream_, on_host_[v].get(), bytes_of(values[v])) : weight(v, store, weights, false);
    }
    const size_t bytes = prepared_bytes(*program_, i);
    const bool is_kept = values[out].memory == Memory::device && (keep[out] || step.pack), waits = kept_in(out) == Memory::host;
    if (is_kept) kept(out) = found(out, bytes);  // an equal tensor's, made a moment ago
    if (!kept(out)) {
      constants_[out] = is_kept && !waits ? store.allocate(bytes) : device_.allocate(bytes, values[out].memory);
      run(calls.emplace_back(prepare_call(i, used)), *this, &request);
      if (waits) {
        on_host_[out] = device_.allocate(bytes, Memory::host);
        stream_->copy_out(on_host_[out].get(), constants_[out].get(), bytes);
        if (readers[out] == 0) used.push_back(std::move(constants_[out]));
      }
      if (is_kept) made.push_back({{ids_[out], kept(out), bytes, kept_in(out)}, !replaceable[out]});
      ++request.counters.allocations;
      ++request.counters.constants_prepared;
    }
    std::vector<const std::string*> read;
    for (int32_t in : step.in) {
      const auto v = static_cast<size_t>(in);
      if (in < 0 || --readers[v] > 0 || (keep[v] && kept_in(v) == Memory::device)) continue;
      if (values[v].where == PlanValue::Where::weight) read.push_back(&values[v].key);
      used_bytes += bytes_of(values[v]);
      used.push_back(std::move(constants_[v]));
    }
    // Where weights have to wait there is no memory to take more of than this.
    if (device_.shares_host_memory() || program_->weights.waiting_bytes > 0 || used_bytes > kMostUsed) let_go();
    for (const std::string* name : read) weights.release(*name);  // copied, or read by what has run
  }
  for (const auto& [value, bytes, offset] : program_->weights.resident)
    if (const auto v = static_cast<size_t>(value); on_host_[v])
      constants_[v] = store.on_device({ids_[v], on_host_[v], bytes, Memory::host}, *stream_);
  let_go();
}

Session::Call Session::prepare_call(size_t prepare_step, std::vector<std::shared_ptr<void>>& used) const {
  const PlanStep& step = plan_->prepare[prepare_step];
  Call call{.kernel = nullptr, .on = runs_on(step)};
  if (step.copy) {
    call.kernel = bound_copy(step);
    return call;
  }
  const Offer& offer = *program_->prepare[prepare_step];
  if (step.pack) {
    call.kernel = bound([&offer, source = address(step.in[0]), scales = step.in.size() > 1 ? address(step.in[1]) : nullptr,
                         to = address(step.out)](Stream& stream) { offer.pack(source, scales, to, stream); });
    return call;
  }
  used.push_back(device_.allocate(offer.workspace_bytes, plan_->values[static_cast<size_t>(step.out)].memory));
  Buffers buffers{.in = {}, .out = address(step.out), .workspace = used.back().get()};
  for (int32_t in : step.in) buffers.in.push_back(in < 0 ? nullptr : address(in));
  call.kernel = offer.bind(buffers);
  return call;
}

std::vector<Constant> Session::constants(const WeightSource& weights) const {
  const std::vector<size_t> bytes = constant_bytes(*program_);
  const std::vector<ConstantId> ids = constant_ids(*program_, weights);
  std::vector<Constant> result;
  for (size_t v = 0; v < constants_.size(); ++v) {
    const std::shared_ptr<void>& data = on_host_[v] ? on_host_[v] : constants_[v];
    if (data && plan_->values[v].memory != Memory::host) result.push_back({ids[v], data, bytes[v], kept_in(v)});
  }
  return result;
}

std::unique_ptr<BoundKernel> Session::bind_arrival(const std::vector<WeightStream::Segment>& segments, size_t segment) {
  const auto place = [&](size_t of, const WeightStream::Piece& piece) {
    return static_cast<char*>(lanes_.get()) + of % Stream::kLanes * program_->weights.lane_bytes + piece.offset;
  };
  const auto copies = [&](size_t of) {
    std::vector<HostCopy> all;
    if (of < segments.size())
      for (const WeightStream::Piece& p : segments[of].pieces) all.push_back({place(of, p), on_host_[static_cast<size_t>(p.value)].get(), p.bytes});
    return all;
  };
  for (const WeightStream::Piece& p : segments[segment].pieces) constants_[static_cast<size_t>(p.value)] = {lanes_, place(segment, p)};
  return bound(
      [lane = segment % Stream::kLanes, own = segment == 0 ? copies(0) : std::vector<HostCopy>(), next = copies(segment + 1)](Stream& stream) {
        if (!own.empty()) stream.ahead(lane, own);
        if (!next.empty()) stream.ahead(1 - lane, next);
        stream.need(lane);
      });
}

void Session::bind(Phase phase, int32_t first_number, std::vector<Call>& calls) {
  const std::vector<PlanStep>& steps = plan_->program(phase);
  const std::vector<WeightStream::Segment>& segments = program_->weights.segments(phase);
  size_t segment = 0;
  calls.reserve(steps.size());
  for (const PlanStep& step : steps) {
    const auto number = first_number + static_cast<int32_t>(calls.size());
    const Call::On on = runs_on(step);
    std::unique_ptr<BoundKernel> arrival;
    if (segment < segments.size() && segments[segment].first_step == calls.size()) arrival = bind_arrival(segments, segment++);
    if (step.copy) {
      calls.push_back({bound_copy(step), on, std::move(arrival)});
      continue;
    }
    const bool on_host = on == Call::On::host;
    Buffers buffers{.in = {},
                    .out = address(step.out),
                    .workspace = (on_host ? host_workspace_ : workspace_).get(),
                    .bad_value = {on_host ? nullptr : static_cast<int32_t*>(bad_value_.get()), number}};
    for (int32_t in : step.in) buffers.in.push_back(in < 0 ? nullptr : address(in));
    calls.push_back({program_->offers(phase)[calls.size()]->bind(buffers), on, std::move(arrival)});
  }
}

void Session::label_values() const {
  std::vector<MemoryLabel>* labels = device_.labels();
  if (!labels) return;
  const auto add = [&](int32_t v, const std::string& name) {
    const PlanValue& value = plan_->values[static_cast<size_t>(v)];
    if (value.memory == Memory::device && address(v))  // weights that come and go have none yet
      labels->push_back({address(v), bytes_of(value), cat("value ", v, ", ", name)});
  };
  for (const PlanPort& port : plan_->inputs) add(port.value, cat("input \"", port.name, '"'));
  for (const PlanPort& port : plan_->outputs) add(port.value, cat("output \"", port.name, '"'));
  for (const auto* program : {&plan_->setup, &plan_->step})
    for (const PlanStep& step : *program) {
      add(step.out, cat(op_name(step.op), step.scope.empty() ? "" : " in " + step.scope));
      for (int32_t in : step.in)
        if (in >= 0 && plan_->values[static_cast<size_t>(in)].where != PlanValue::Where::arena) add(in, plan_->values[static_cast<size_t>(in)].key);
    }
}

}  // namespace vivace
