// A device that is none of the CPU's, to keep everything above it honest without a GPU: the host cannot touch its memory (guarded_memory.h), what is
// launched and copied happens at the wait, or when the host asks again how far it is, and what is copied out holds 0xCB until then.
#pragma once

#include <functional>
#include <vector>

#include "guarded_memory.h"
#include "runtime/device.h"

namespace vivace {

class CheckingDevice final : public Device {
 public:
  // Runs these kernels, the ones among them that `on_host` names as graph breaks. They may be any that take the host's pointers.
  explicit CheckingDevice(std::span<const KernelEntry> kernels, const std::function<bool(const KernelEntry&)>& on_host = {});

  Target target() const override;
  std::span<const KernelEntry> kernels() const override { return kernels_; }
  std::shared_ptr<void> allocate(size_t bytes, Memory memory = Memory::device) override;
  std::unique_ptr<Stream> stream() override;
  LoopKernels loop_kernels(const LoopCall& call) override;  // the oracle's
  std::vector<MemoryLabel>* labels() override { return &memory_.labels; }

 private:
  std::vector<KernelEntry> kernels_;
  GuardedMemory memory_;
};

// The oracle's kernels, and the CPU's, on one; both are in devices() of the tests that call this, as "oracle" and "checking".
void add_checking_devices();

}  // namespace vivace
