#include "runtime/device.h"

#include <unistd.h>

#include "base/memory_size.h"
#include "runtime/request.h"
#include "runtime/step_loop.h"

namespace vivace {

void Stream::wait(RequestCounters& counters) {
  if (finish()) ++counters.host_device_syncs;
}

void Stream::ahead(size_t, std::span<const HostCopy> copies) noexcept {
  for (const HostCopy& copy : copies) copy_in(copy.to, copy.from, copy.bytes);
}

void Stream::need(size_t) noexcept {}

std::shared_ptr<void> upload(Device& device, Stream& stream, const void* host, size_t bytes) {
  std::shared_ptr<void> copy = device.allocate(bytes);
  stream.copy_in(copy.get(), host, bytes);
  return copy;
}

LoopKernels Device::loop_kernels(const LoopCall&) { return {}; }

uint64_t Device::memory() const { return static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGE_SIZE)); }

std::optional<uint64_t> Device::free_memory() const { return available_memory(); }

const KernelEntry* Device::find(std::string_view kernel) const {
  for (const KernelEntry& entry : kernels())
    if (entry.name == kernel) return &entry;
  return nullptr;
}

}  // namespace vivace
