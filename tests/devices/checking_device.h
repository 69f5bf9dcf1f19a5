// A device that is none of the CPU's, to keep everything above it honest without a GPU: the host cannot touch its memory (pages are PROT_NONE but for
// the time of a wait), what is launched and copied happens at the wait, freed memory never comes back, and what is copied out holds 0xCB until then.
// A touch of its memory at another time ends the process with the name that the plan has for what lies there.
#pragma once

#include <functional>
#include <mutex>
#include <vector>

#include "runtime/device.h"

namespace vivace {

class CheckingDevice final : public Device {
 public:
  // Runs these kernels, the ones among them that `on_host` names as graph breaks. They may be any that take the host's pointers.
  explicit CheckingDevice(std::span<const KernelEntry> kernels, const std::function<bool(const KernelEntry&)>& on_host = {});
  ~CheckingDevice() override;

  Target target() const override;
  std::span<const KernelEntry> kernels() const override { return kernels_; }
  std::shared_ptr<void> allocate(size_t bytes, Memory memory = Memory::device) override;
  std::unique_ptr<Stream> stream() override;
  MachinePeak measure_peak() override { return {}; }
  std::vector<MemoryLabel>* labels() override { return &labels_; }

  // While one lives, the device is at work.
  class Unlocked {
   public:
    explicit Unlocked(CheckingDevice& device);
    ~Unlocked();

   private:
    CheckingDevice& device_;
    std::lock_guard<std::recursive_mutex> lock_;
  };

  // What lies at an address, for a message; "" where it is none of this device's.
  std::string describe(const void* address) const;

 private:
  struct Range {
    char* begin = nullptr;
    size_t bytes = 0, pages = 0;
    bool freed = false;
  };
  void protect(int protection);

  std::vector<KernelEntry> kernels_;
  std::vector<MemoryLabel> labels_;
  std::recursive_mutex mutex_;
  std::vector<Range> ranges_;
};

// The oracle's kernels, and the CPU's, on one; both are in devices() of the tests that call this, as "oracle" and "checking".
void add_checking_devices();

}  // namespace vivace
