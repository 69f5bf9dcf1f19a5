#include "backends/devices.h"

#include <charconv>

#include "backends/cpu/device.h"
#include "backends/cuda/device.h"
#include "base/joined.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

std::shared_ptr<Device> the_cpu(int number) {
  if (number > 0) throw UsageError(cat("device \"cpu:", number, "\": all of the CPU is one device, cpu"));
  return cpu::device();
}

}  // namespace

std::vector<DeviceRow>& devices() {
  static std::vector<DeviceRow> rows{
      {"cpu", the_cpu},
      {"cuda", cuda::device},
  };
  return rows;
}

std::shared_ptr<Device> open_device(std::string_view name) {
  const size_t colon = name.find(':');
  int number = 0;
  if (colon != std::string_view::npos) {
    const std::string_view digits = name.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || end != digits.data() + digits.size() || number < 0)
      throw UsageError(cat("device \"", name, "\": expected a number behind the colon, as in cuda:0"));
  }
  for (const DeviceRow& row : devices())
    if (row.name == name.substr(0, colon)) return row.open(number);
  throw UsageError(cat("there is no device \"", name, "\": expected one of ", joined(devices(), ", ", &DeviceRow::name)));
}

}  // namespace vivace
