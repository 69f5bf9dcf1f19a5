// The CPU with another kernel list, for tests.
#pragma once

#include <vector>

#include "backends/cpu/device.h"
#include "backends/host_device.h"

namespace vivace {

class WithKernels final : public HostDevice {
 public:
  explicit WithKernels(std::vector<KernelEntry> kernels) : kernels_(std::move(kernels)) {}
  Target target() const override { return cpu::device()->target(); }
  std::span<const KernelEntry> kernels() const override { return kernels_; }

 private:
  std::vector<KernelEntry> kernels_;
};

}  // namespace vivace
