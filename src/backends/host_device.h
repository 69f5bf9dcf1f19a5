// A Device whose memory is the host's: the CPU, and the oracle. What is launched has run and what is copied is there when the call returns.
#pragma once

#include "runtime/device.h"

namespace vivace {

// 64-byte aligned memory, of huge pages where it is large; freed with its last owner. Throws UserError when it cannot be had.
std::shared_ptr<void> allocate_pages(size_t bytes);

class HostDevice : public Device {
 public:
  std::shared_ptr<void> allocate(size_t bytes, Memory memory = Memory::device) override;
  std::unique_ptr<Stream> stream() override;
  bool shares_host_memory() const override { return true; }
};

}  // namespace vivace
