#include "backends/devices.h"

#include "backends/cpu/device.h"
#include "base/joined.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace {

std::vector<DeviceRow>& devices() {
  static std::vector<DeviceRow> rows{
      {"cpu", [] { return cpu::device(); }},
  };
  return rows;
}

std::shared_ptr<Device> open_device(std::string_view name) {
  for (const DeviceRow& row : devices())
    if (row.name == name) return row.open();
  throw UsageError(cat("there is no device \"", name, "\": expected one of ", joined(devices(), ", ", &DeviceRow::name)));
}

}  // namespace vivace
