#include "checking_device.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <variant>

#include "backends/cpu/device.h"
#include "backends/devices.h"
#include "backends/ref/device.h"
#include "base/log.h"

namespace vivace {
namespace {

constexpr int kPoison = 0xCB;

std::vector<CheckingDevice*> g_devices;

// Says whose memory was touched; the process then ends as it would have.
void on_fault(int signal, siginfo_t* info, void*) {
  for (const CheckingDevice* device : g_devices)
    if (const std::string what = device->describe(info->si_addr); !what.empty()) (void)!::write(STDERR_FILENO, what.data(), what.size());
  ::signal(signal, SIG_DFL);
}

class CheckingStream final : public Stream {
 public:
  explicit CheckingStream(CheckingDevice& device) : device_(device) {}

  void launch(BoundKernel& kernel) noexcept override {
    queue_.push_back([this, &kernel] { kernel.run(*this); });
  }
  void copy_in(void* to, const void* host, size_t bytes) noexcept override {
    const auto* from = static_cast<const char*>(host);
    queue_.push_back([to, taken = std::vector<char>(from, from + bytes)] { std::memcpy(to, taken.data(), taken.size()); });
  }
  void copy_out(void* host, const void* from, size_t bytes) noexcept override {
    std::memset(host, kPoison, bytes);
    queue_.push_back([=] { std::memcpy(host, from, bytes); });
  }
  void copy(void* to, const void* from, size_t bytes) noexcept override {
    queue_.push_back([=] { std::memcpy(to, from, bytes); });
  }

 private:
  bool finish() override {
    if (queue_.empty()) return false;
    const CheckingDevice::Unlocked unlocked(device_);
    for (const auto& work : queue_) work();
    queue_.clear();
    return true;
  }

  CheckingDevice& device_;
  std::vector<std::function<void()>> queue_;
};

}  // namespace

CheckingDevice::CheckingDevice(std::span<const KernelEntry> kernels, const std::function<bool(const KernelEntry&)>& on_host)
    : kernels_(kernels.begin(), kernels.end()) {
  for (KernelEntry& entry : kernels_)
    if (on_host && on_host(entry)) {
      entry.memory = Memory::host;
      entry.strided_in = entry.strided_out = entry.in_place = false;
    }
  g_devices.push_back(this);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  ::sigaction(SIGSEGV, &action, nullptr);
}

CheckingDevice::~CheckingDevice() {
  std::erase(g_devices, this);
  for (const Range& range : ranges_) ::munmap(range.begin, range.pages);
}

Target CheckingDevice::target() const {
  Target target = cpu::device()->target();  // whose kernels it has
  target.name = "checking", target.text = "a device for tests", target.level_name = "none";
  return target;
}

std::shared_ptr<void> CheckingDevice::allocate(size_t bytes, Memory memory) {
  if (memory == Memory::host)
    return {::operator new(std::max<size_t>(bytes, 1), std::align_val_t(64)), [](void* p) { ::operator delete(p, std::align_val_t(64)); }};
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE)), used = (std::max<size_t>(bytes, 1) + page - 1) / page * page;
  // The page behind is never readable. What is written beyond the end within the last page goes unseen, as kernels of whole vectors may.
  auto* begin = static_cast<char*>(::mmap(nullptr, used + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (begin == MAP_FAILED) return nullptr;
  std::memset(begin, kPoison, used);
  ::mprotect(begin, used + page, PROT_NONE);
  const std::lock_guard lock(mutex_);
  ranges_.push_back({begin, used, used + page});
  return {begin, [this](void* p) {
            const std::lock_guard lock(mutex_);
            Range& range = *std::ranges::find(ranges_, static_cast<char*>(p), &Range::begin);
            ::mprotect(range.begin, range.bytes, PROT_NONE);
            ::madvise(range.begin, range.bytes, MADV_DONTNEED);
            range.freed = true;
          }};
}

std::unique_ptr<Stream> CheckingDevice::stream() { return std::make_unique<CheckingStream>(*this); }

void CheckingDevice::protect(int protection) {
  for (const Range& range : ranges_)
    if (!range.freed) ::mprotect(range.begin, range.bytes, protection);
}

CheckingDevice::Unlocked::Unlocked(CheckingDevice& device) : device_(device), lock_(device.mutex_) { device.protect(PROT_READ | PROT_WRITE); }
CheckingDevice::Unlocked::~Unlocked() { device_.protect(PROT_NONE); }

std::string CheckingDevice::describe(const void* address) const {
  const auto* at = static_cast<const char*>(address);
  for (const Range& range : ranges_) {
    if (at < range.begin || at >= range.begin + range.pages) continue;
    std::string text = range.freed                       ? "freed memory of the device was touched"
                       : at >= range.begin + range.bytes ? "memory behind a buffer of the device was touched"
                                                         : "the host touched memory of the device";
    for (const MemoryLabel& label : labels_) {
      const auto* begin = static_cast<const char*>(label.begin);
      if (at >= begin && at < begin + label.bytes) text += "; " + label.name;
    }
    return text + '\n';
  }
  return "";
}

void add_checking_devices() {
  static const bool once = [] {
    devices().push_back({"oracle", []() -> std::shared_ptr<Device> { return std::make_shared<CheckingDevice>(ref::device()->kernels()); }});
    devices().push_back({"checking", []() -> std::shared_ptr<Device> { return std::make_shared<CheckingDevice>(cpu::device()->kernels()); }});
    return true;
  }();
  (void)once;
}

}  // namespace vivace
