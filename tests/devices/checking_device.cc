#include "checking_device.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <utility>

#include "backends/cpu/device.h"
#include "backends/devices.h"
#include "backends/ref/device.h"
#include "runtime/step_loop.h"

namespace vivace {
namespace {

class CheckingStream final : public Stream {
 public:
  explicit CheckingStream(GuardedMemory& memory) : memory_(memory) {}

  void launch(BoundKernel& kernel) noexcept override {
    queue_.push_back([this, &kernel] { kernel.run(*this); });
  }
  void copy_in(void* to, const void* host, size_t bytes) noexcept override {
    const auto* from = static_cast<const char*>(host);
    queue_.push_back([to, taken = std::vector<char>(from, from + bytes)] { std::memcpy(to, taken.data(), taken.size()); });
  }
  void copy_out(void* host, const void* from, size_t bytes) noexcept override {
    std::memset(host, GuardedMemory::kPoison, bytes);
    queue_.push_back([=] { std::memcpy(host, from, bytes); });
  }
  void copy(void* to, const void* from, size_t bytes) noexcept override {
    queue_.push_back([=] { std::memcpy(to, from, bytes); });
  }
  // Where it is put, no sooner, what was there may no longer be read, and what comes is not there before it has to be.
  void ahead(size_t lane, std::span<const HostCopy> copies) noexcept override {
    for (const HostCopy& copy : copies) {
      queue_.push_back([copy] { std::memset(copy.to, GuardedMemory::kPoison, copy.bytes); });
      lanes_[lane].push_back(copy);
    }
  }
  void need(size_t lane) noexcept override {
    for (const HostCopy& copy : std::exchange(lanes_[lane], {})) queue_.push_back([copy] { std::memcpy(copy.to, copy.from, copy.bytes); });
  }
  int64_t mark() noexcept override { return done_ + std::ssize(queue_); }
  // Who asks once is told that it is under way, and who asks again that it is done.
  bool passed(int64_t mark) noexcept override {
    if (mark <= done_) return true;
    if (std::exchange(asked_, mark) == mark) work_until(mark);
    return mark <= done_;
  }

 private:
  bool finish() override {
    for (size_t lane = 0; lane < kLanes; ++lane) need(lane);  // of a run that was stopped
    if (queue_.empty()) return false;
    work_until(mark());
    return true;
  }
  void work_until(int64_t mark) {
    const GuardedMemory::Unlocked unlocked(memory_);
    for (; done_ < mark; ++done_) {
      queue_.front()();
      queue_.pop_front();
    }
  }

  GuardedMemory& memory_;
  std::deque<std::function<void()>> queue_;
  std::array<std::vector<HostCopy>, kLanes> lanes_;  // on their way
  int64_t done_ = 0, asked_ = 0;                     // pieces of work since the stream was made
};

}  // namespace

CheckingDevice::CheckingDevice(std::span<const KernelEntry> kernels, const std::function<bool(const KernelEntry&)>& on_host)
    : kernels_(kernels.begin(), kernels.end()) {
  for (KernelEntry& entry : kernels_)
    if (on_host && on_host(entry)) {
      entry.memory = Memory::host;
      entry.strided_in = entry.strided_out = entry.in_place = false;
    }
}

Target CheckingDevice::target() const {
  Target target = cpu::device()->target();  // whose kernels it has
  target.name = "checking", target.text = "a device for tests", target.level_name = "none";
  return target;
}

std::shared_ptr<void> CheckingDevice::allocate(size_t bytes, Memory memory) {
  if (memory == Memory::host)
    return {::operator new(std::max<size_t>(bytes, 1), std::align_val_t(64)), [](void* p) { ::operator delete(p, std::align_val_t(64)); }};
  void* const begin = memory_.allocate(bytes);
  if (!begin) return nullptr;
  return {begin, [this](void* p) { memory_.free(p); }};
}

LoopKernels CheckingDevice::loop_kernels(const LoopCall& call) { return ref::device()->loop_kernels(call); }

std::unique_ptr<Stream> CheckingDevice::stream() { return std::make_unique<CheckingStream>(memory_); }

namespace {

// One of its kind for all that is there at a time, as a GPU is.
std::shared_ptr<Device> shared(std::weak_ptr<Device>& device, std::span<const KernelEntry> kernels) {
  std::shared_ptr<Device> found = device.lock();
  if (!found) device = found = std::make_shared<CheckingDevice>(kernels);
  return found;
}

}  // namespace

void add_checking_devices() {
  static std::weak_ptr<Device> oracle, checking;
  static const bool once = [] {
    devices().push_back({"oracle", [](int) { return shared(oracle, ref::device()->kernels()); }});
    devices().push_back({"checking", [](int) { return shared(checking, cpu::device()->kernels()); }});
    return true;
  }();
  (void)once;
}

}  // namespace vivace
