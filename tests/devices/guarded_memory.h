// Memory of a device that the host cannot touch: its pages are PROT_NONE but while the device is at work, and freed ranges never come back. A touch
// at another time ends the process with the name that the plan has for what lies there.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "runtime/device.h"

namespace vivace {

class GuardedMemory {
 public:
  // Fresh memory is not 0.
  static constexpr int kPoison = 0xCB;

  GuardedMemory();
  ~GuardedMemory();
  GuardedMemory(const GuardedMemory&) = delete;

  // Aligned to a page. nullptr where there is none.
  void* allocate(size_t bytes);
  void free(void* memory);
  // Whether all of it lies in one allocation that lives.
  bool holds(const void* memory, size_t bytes) const;

  // While one lives, the device is at work.
  class Unlocked {
   public:
    explicit Unlocked(GuardedMemory& memory);
    ~Unlocked();

   private:
    GuardedMemory& memory_;
    std::lock_guard<std::recursive_mutex> lock_;
  };

  // What lies at an address, for a message; "" where it is none of this.
  std::string describe(const void* address) const;

  std::vector<MemoryLabel> labels;

 private:
  struct Range {
    char* begin = nullptr;
    size_t bytes = 0, pages = 0;
    bool freed = false;
  };
  void protect(int protection);

  mutable std::recursive_mutex mutex_;
  std::vector<Range> ranges_;
};

}  // namespace vivace
