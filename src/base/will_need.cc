#include "base/will_need.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace vivace {

void will_need(std::span<const std::byte> mapped) {
  static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const size_t before = reinterpret_cast<uintptr_t>(mapped.data()) % page;
  ::madvise(const_cast<std::byte*>(mapped.data()) - before, mapped.size() + before, MADV_WILLNEED);
}

}  // namespace vivace
