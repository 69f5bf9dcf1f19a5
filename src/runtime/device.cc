#include "runtime/device.h"

#include "runtime/request.h"

namespace vivace {

void Stream::wait(RequestCounters& counters) {
  if (finish()) ++counters.host_device_syncs;
}

const KernelEntry* Device::find(std::string_view kernel) const {
  for (const KernelEntry& entry : kernels())
    if (entry.name == kernel) return &entry;
  return nullptr;
}

}  // namespace vivace
