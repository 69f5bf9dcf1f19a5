// The one list of devices. Above backends/, nothing names one of them.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "runtime/device.h"

namespace vivace {

struct DeviceRow {
  std::string_view name;
  std::shared_ptr<Device> (*open)(int number);
};
// A device is its folder and its row here; tests add theirs.
std::vector<DeviceRow>& devices();

inline constexpr std::string_view kDefaultDevice = "cpu";

// `name`: "cpu", or with a number "cuda:1", the first being 0. Throws UsageError for one that is none, UserError where this machine lacks it:
// "cuda: there is no libcuda.so.1".
std::shared_ptr<Device> open_device(std::string_view name = kDefaultDevice);

}  // namespace vivace
