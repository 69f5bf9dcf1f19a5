#include "backends/devices.h"

#include "backends/cpu/device.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

struct DeviceRow {
  std::string_view name;
  std::shared_ptr<Device> (*open)();
};

constexpr DeviceRow kDevices[] = {
    {"cpu", [] { return cpu::device(); }},
};

}  // namespace

std::shared_ptr<Device> open_device(std::string_view name) {
  std::string known;
  for (const DeviceRow& row : kDevices) {
    if (row.name == name) return row.open();
    known += cat(known.empty() ? "" : ", ", row.name);
  }
  throw UsageError(cat("there is no device \"", name, "\": expected one of ", known));
}

}  // namespace vivace
