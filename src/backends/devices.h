// The one list of devices. Above backends/, nothing names one of them.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "runtime/device.h"

namespace vivace {

struct DeviceRow {
  std::string_view name;
  std::shared_ptr<Device> (*open)();
};
// A device is its folder and its row here; tests add theirs.
std::vector<DeviceRow>& devices();

inline constexpr std::string_view kDefaultDevice = "cpu";

// Throws UsageError for a name that is none, UserError where this machine lacks it: "cuda: there is no libcuda.so.1".
std::shared_ptr<Device> open_device(std::string_view name = kDefaultDevice);

}  // namespace vivace
