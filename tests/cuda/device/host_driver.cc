#include "host_driver.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "../host/kernels.h"
#include "base/log.h"
#include "tile_call.h"
#include "vivace/error.h"

namespace vivace::cuda {
namespace {

thread_local const HostDriver* t_entered = nullptr;
thread_local bool* t_capture_broken = nullptr;  // of the stream that this thread captures

// What a thread must not do while it captures (CU_STREAM_CAPTURE_MODE_THREAD_LOCAL): the capture is broken then.
bool is_unsafe_now() {
  if (t_capture_broken) *t_capture_broken = true;
  return t_capture_broken != nullptr;
}

// CUDA's numbers.
constexpr Status kInvalidValue = 1, kIllegalAddress = 700, kLaunchFailed = 719, kUnsupportedInCapture = 900, kInvalidated = 901, kUnjoined = 904,
                 kIsolation = 905;

}  // namespace

HostDriver::HostDriver(Options options)
    : options_(std::move(options)),
      properties_{.name = "a host that plays a GPU",
                  .capability = options_.capability,
                  .multiprocessors = 4,
                  .threads_per_multiprocessor = 2048,
                  .memory_bytes = options_.memory_bytes,
                  .versions = "no driver"} {
  if (!options_.libraries) return;
  blas_ = host_blas(*this);
  dnn_ = host_dnn(*this);
}

HostDriver::~HostDriver() = default;

void HostDriver::enter() const { t_entered = this; }
HostDriver& HostDriver::entered() { return const_cast<HostDriver&>(*t_entered); }

HostDriver::Counts HostDriver::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

std::string HostDriver::explain(Status status) const {
  switch (status) {
    case kInvalidValue:
      return "invalid argument";
    case kOutOfMemory:
      return "out of memory";
    case kIllegalAddress:
      return "an illegal memory access was encountered";
    case kLaunchFailed:
      return "unspecified launch failure";
    case kUnsupportedInCapture:
      return "operation not permitted when stream is capturing";
    case kInvalidated:
      return "operation failed due to a previous error during capture";
    case kUnjoined:
      return "capture sequence contains a fork that was not joined to the primary stream";
    case kIsolation:
      return "dependency created on uncaptured work in another stream";
    default:
      return cat("error ", status);
  }
}

Status HostDriver::allocate(size_t bytes, void** memory) {
  if (is_unsafe_now()) return kUnsupportedInCapture;
  const std::lock_guard lock(mutex_);
  if (allocated_bytes_ + bytes > options_.memory_bytes) return kOutOfMemory;
  if (!(*memory = memory_.allocate(bytes))) return kOutOfMemory;
  allocated_[*memory] = bytes;
  allocated_bytes_ += bytes;
  counts_.most_bytes = std::max(counts_.most_bytes, allocated_bytes_);
  ++counts_.allocations;
  return kSuccess;
}

void HostDriver::free(void* memory) {
  const std::lock_guard lock(mutex_);
  const auto found = allocated_.find(memory);
  allocated_bytes_ -= found->second;
  allocated_.erase(found);
  memory_.free(memory);
}

Status HostDriver::allocate_pinned(size_t bytes, void** memory) {
  if (is_unsafe_now()) return kUnsupportedInCapture;
  const std::lock_guard lock(mutex_);
  if (pinned_bytes_ + bytes > options_.pinned_bytes) return kOutOfMemory;
  pinned_bytes_ += bytes;
  *memory = ::operator new(bytes, std::align_val_t(64));
  std::memset(*memory, GuardedMemory::kPoison, bytes);
  pinned_[static_cast<const char*>(*memory)] = bytes;
  return kSuccess;
}

void HostDriver::free_pinned(void* memory) {
  (void)is_unsafe_now();
  const std::lock_guard lock(mutex_);
  const auto found = pinned_.find(static_cast<const char*>(memory));
  pinned_bytes_ -= found->second;
  pinned_.erase(found);
  ::operator delete(memory, std::align_val_t(64));
}

size_t HostDriver::free_bytes() {
  const std::lock_guard lock(mutex_);
  return options_.memory_bytes - allocated_bytes_;
}

Status HostDriver::create_stream(DriverStream** stream) {
  const std::lock_guard lock(mutex_);
  auto* const made = new Stream;
  streams_.insert(made);
  *stream = reinterpret_cast<DriverStream*>(made);
  return kSuccess;
}

void HostDriver::destroy(DriverStream* stream) {
  const std::lock_guard lock(mutex_);
  streams_.erase(&of(stream));
  delete &of(stream);
}

void HostDriver::count_dnn_plan() {
  const std::lock_guard lock(mutex_);
  ++counts_.dnn_plans;
}

void HostDriver::count_wait() {
  const std::lock_guard lock(mutex_);
  ++counts_.waits;
}

Status HostDriver::run_until(Stream& stream, int64_t done) {
  const std::lock_guard lock(mutex_);
  if (stream.capture) return kUnsupportedInCapture;
  const GuardedMemory::Unlocked unlocked(memory_);
  return work_until(stream, done) ? broken_ : kNotReady;
}

bool HostDriver::work_until(Stream& stream, int64_t done) {
  const auto may_work = [](const Stream& s) {
    return !s.at_work && !s.queue.empty() && (!s.queue.front().behind || s.queue.front().behind->done >= s.queue.front().at);
  };
  while (stream.done < done) {
    if (options_.early)
      for (Stream* other : streams_)
        while (other != &stream && may_work(*other) && work_one(*other)) {
        }
    if (!work_one(stream)) return false;
  }
  return true;
}

bool HostDriver::work_one(Stream& stream) {
  const Stream::Item& item = stream.queue.front();
  bool ready = true;
  stream.at_work = true;
  if (item.behind) {
    ready = work_until(*item.behind, item.at);
  } else if (broken_ == kSuccess) {
    const Status status = item.work();
    ready = status != kNotReady;
    if (ready) broken_ = status;
  }
  stream.at_work = false;
  if (!ready) return false;
  stream.queue.pop_front();
  ++stream.done;
  return true;
}

Status HostDriver::wait_until(Stream& stream, int64_t done) {
  constexpr std::chrono::microseconds kPause{100};
  for (;;) {
    if (const Status status = run_until(stream, done); status != kNotReady) return status;
    std::this_thread::sleep_for(kPause);
  }
}

Status HostDriver::synchronize(DriverStream* stream) {
  if (is_unsafe_now()) return kUnsupportedInCapture;
  count_wait();
  return wait_until(of(stream), of(stream).put);
}

Status HostDriver::synchronize(DriverEvent* event) {
  if (is_unsafe_now()) return kUnsupportedInCapture;
  count_wait();
  const auto& e = *reinterpret_cast<const Event*>(event);
  return e.stream ? wait_until(*e.stream, e.behind) : kSuccess;
}

// Who asks once is told that it is under way, and who asks again finds it done.
Status HostDriver::query(DriverEvent* event) {
  if (is_unsafe_now()) return kUnsupportedInCapture;
  auto& e = *reinterpret_cast<Event*>(event);
  {
    const std::lock_guard lock(mutex_);
    ++counts_.queries;
  }
  if (!e.stream || e.stream->done >= e.behind) return broken_;
  return std::exchange(e.asked, true) ? run_until(*e.stream, e.behind) : kNotReady;
}

Status HostDriver::create_event(DriverEvent** event) {
  *event = reinterpret_cast<DriverEvent*>(new Event);
  return kSuccess;
}

void HostDriver::destroy(DriverEvent* event) { delete reinterpret_cast<Event*>(event); }

Status HostDriver::record(DriverEvent* event, DriverStream* stream) {
  const std::lock_guard lock(mutex_);
  Stream& s = of(stream);
  const auto behind = s.capture ? std::ssize((*s.capture)[s.branch].items) : s.put;
  *reinterpret_cast<Event*>(event) = {&s, behind, false, s.capture, s.branch};
  return kSuccess;
}

Status HostDriver::wait(DriverStream* stream, DriverEvent* event) {
  const std::lock_guard lock(mutex_);
  if (options_.forgets_waits) return kSuccess;
  const auto& e = *reinterpret_cast<const Event*>(event);
  Stream& s = of(stream);
  if (!e.capture) {
    if (s.capture) return kIsolation;
    if (e.stream) add(s, {{}, e.stream, e.behind});
    return kSuccess;
  }
  if (e.stream->capture != e.capture) return kIsolation;  // which has ended
  if (!s.capture) {                                       // it joins
    s.capture = e.capture;
    s.branch = e.capture->size();
    e.capture->emplace_back();
  }
  if (s.capture != e.capture) return kIsolation;
  (*s.capture)[s.branch].items.push_back({{}, e.branch, static_cast<size_t>(e.behind)});
  return kSuccess;
}

void HostDriver::add(Stream& stream, Stream::Item item) {
  stream.queue.push_back(std::move(item));
  ++stream.put;
}

Status HostDriver::put(DriverStream* stream, Work work) {
  const std::lock_guard lock(mutex_);
  if (broken_ != kSuccess) return broken_;
  Stream& s = of(stream);
  if (s.capture)
    (*s.capture)[s.branch].items.push_back({std::move(work)});
  else
    add(s, {std::move(work)});
  return kSuccess;
}

bool HostDriver::captures(DriverStream* stream) {
  const std::lock_guard lock(mutex_);
  return of(stream).capture != nullptr;
}

Status HostDriver::copy(void* to, const void* from, size_t bytes, Way way, DriverStream* stream) {
  const std::lock_guard lock(mutex_);
  ++counts_.copies;
  const auto is_pinned = [&](const void* host) {
    const auto* at = static_cast<const char*>(host);
    const auto next = pinned_.upper_bound(at);
    return next != pinned_.begin() && at + bytes <= std::prev(next)->first + std::prev(next)->second;
  };
  // From memory that is not pinned a driver copies while the host waits.
  if (way != Way::within && !is_pinned(way == Way::to_device ? from : to)) return kInvalidValue;
  // A graph copies the same host bytes each time: what does not change, which is copied beside the rest, and nothing else.
  if (way != Way::within && of(stream).capture && of(stream).branch == 0) return kUnsupportedInCapture;
  if ((way != Way::to_host && !memory_.holds(to, bytes)) || (way != Way::to_device && !memory_.holds(from, bytes))) return kInvalidValue;
  if (way == Way::to_host) std::memset(to, GuardedMemory::kPoison, bytes);
  return put(stream, [=] {
    std::memcpy(to, from, bytes);
    return kSuccess;
  });
}

DriverFunction* HostDriver::keep(const std::string& key, Function function) {
  const std::lock_guard lock(mutex_);
  auto& kept = functions_[key];
  if (!kept) kept = std::make_unique<Function>(std::move(function));
  return reinterpret_cast<DriverFunction*>(kept.get());
}

DriverFunction* HostDriver::load(const Launch& launch) {
  if (!host_cuda::has(launch.function)) throw InternalError(cat(launch.function, " is not compiled for the host: give it a line in tests/cuda/host"));
  return keep(launch.function,
              {launch.function, [launch, seed = options_.seed](const unsigned(&grid)[3], unsigned block, unsigned shared, const void* arguments) {
                 Launch now = launch;
                 std::ranges::copy(grid, now.grid);
                 now.block = block;
                 now.shared = shared;
                 host_cuda::run(now, arguments, seed);
               }});
}

DriverFunction* HostDriver::load(const TileKernel& kernel) {
  std::string key = cat("tile ", kernel.program.text(), ' ', dtype_name(kernel.output));
  for (const TileInput& input : kernel.inputs) key += cat(' ', dtype_name(input.dtype), static_cast<int>(input.broadcast));
  return keep(key, {key, [kernel](const unsigned(&)[3], unsigned, unsigned, const void* arguments) { run_tile(kernel, arguments); }});
}

Status HostDriver::launch(DriverFunction* function, const unsigned (&grid)[3], unsigned block, unsigned shared, const void* arguments, size_t bytes,
                          DriverStream* stream) {
  const std::lock_guard lock(mutex_);
  ++counts_.launches;
  const auto& f = *reinterpret_cast<const Function*>(function);
  const bool fails = !options_.failing.empty() && f.name.find(options_.failing) != std::string::npos;
  if (of(stream).capture && !options_.failing_in_capture.empty() && f.name.find(options_.failing_in_capture) != std::string::npos) {
    of(stream).capture_broken = true;
    return kUnsupportedInCapture;
  }
  constexpr unsigned kMostX = (1u << 31) - 1, kMostYZ = 65535;
  constexpr size_t kMostArguments = 4096;
  const bool fits = grid[0] - 1 < kMostX && grid[1] - 1 < kMostYZ && grid[2] - 1 < kMostYZ && bytes <= kMostArguments;
  if ((fails && !options_.failing_late) || !fits || block == 0 || block > 1024 || shared > kMostShared) return kInvalidValue;
  std::vector<char> copied(bytes);
  std::memcpy(copied.data(), arguments, bytes);
  return put(stream, [&f, fails, x = grid[0], y = grid[1], z = grid[2], block, shared, copied = std::move(copied)]() -> Status {
    if (fails) return kIllegalAddress;
    try {
      f.run({x, y, z}, block, shared, copied.data());
    } catch (const std::exception& error) {
      warn("kernel ", f.name, ": ", error.what());
      return kLaunchFailed;
    }
    return kSuccess;
  });
}

Status HostDriver::begin_capture(DriverStream* stream) {
  of(stream).capture = std::make_shared<std::vector<Branch>>(1);
  of(stream).branch = 0;
  of(stream).capture_broken = false;
  t_capture_broken = &of(stream).capture_broken;
  return broken_;
}

Status HostDriver::end_capture(DriverStream* stream, DriverGraph** graph) {
  const std::lock_guard lock(mutex_);
  t_capture_broken = nullptr;
  const std::shared_ptr<std::vector<Branch>> captured = of(stream).capture;
  for (Stream* s : streams_)
    if (s->capture == captured) s->capture = nullptr;
  if (of(stream).capture_broken) return kInvalidated;
  const std::vector<Branch>& branches = *captured;
  for (size_t b = 1; b < branches.size(); ++b)
    if (std::ranges::none_of(branches[0].items, [&](const Branch::Item& i) { return !i.work && i.branch == b && i.at == branches[b].items.size(); }))
      return kUnjoined;
  *graph = reinterpret_cast<DriverGraph*>(new Graph{branches, std::vector<Stream>(branches.size() - 1)});
  for (Stream& s : reinterpret_cast<Graph*>(*graph)->streams) streams_.insert(&s);
  ++counts_.captures;
  return kSuccess;
}

Status HostDriver::launch(DriverGraph* graph, DriverStream* stream) {
  const std::lock_guard lock(mutex_);
  ++counts_.graph_launches;
  if (broken_ != kSuccess) return broken_;
  auto& g = *reinterpret_cast<Graph*>(graph);
  const auto stream_of = [&](size_t branch) -> Stream& { return branch == 0 ? of(stream) : g.streams[branch - 1]; };
  std::vector<int64_t> before;
  for (size_t b = 0; b < g.branches.size(); ++b) before.push_back(stream_of(b).put);
  for (size_t b = 0; b < g.branches.size(); ++b)
    for (const Branch::Item& item : g.branches[b].items) {
      if (item.work)
        add(stream_of(b), {item.work});
      else
        add(stream_of(b), {{}, &stream_of(item.branch), before[item.branch] + static_cast<int64_t>(item.at)});
    }
  return kSuccess;
}

void HostDriver::destroy(DriverGraph* graph) {
  const std::lock_guard lock(mutex_);
  destroyed_.emplace_back(reinterpret_cast<Graph*>(graph));
}

}  // namespace vivace::cuda
