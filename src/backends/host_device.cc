#include "backends/host_device.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

class HostStream final : public Stream {
 public:
  void launch(BoundKernel& kernel) noexcept override { kernel.run(*this); }
  void copy_in(void* to, const void* host, size_t bytes) noexcept override { move(to, host, bytes); }
  void copy(void* to, const void* from, size_t bytes) noexcept override { move(to, from, bytes); }
  void copy_out(void* host, const void* from, size_t bytes) noexcept override { move(host, from, bytes); }

 private:
  static void move(void* to, const void* from, size_t bytes) {
    if (to != from && bytes) std::memcpy(to, from, bytes);
  }
  bool finish() override { return false; }
};

}  // namespace

std::shared_ptr<void> allocate_pages(size_t bytes) {
  constexpr size_t kHuge = size_t{2} << 20;
  // Small blocks come from the heap: a mapping each would waste a page and a system call.
  if (bytes < kHuge / 4) {
    void* p = std::aligned_alloc(64, std::max<size_t>(64, (bytes + 63) / 64 * 64));
    if (!p) throw UserError(cat("out of memory: ", bytes, " bytes for weights or activations"));
    return {p, std::free};
  }
  // A mapping of its own, of which what lies around whole huge pages is given back: a heap would keep blocks that were freed, and lay small ones
  // there.
  const size_t size = (bytes + kHuge - 1) / kHuge * kHuge;
  void* const mapped = mmap(nullptr, size + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw UserError(cat("out of memory: ", bytes, " bytes for weights or activations; use a smaller size, batch or dtype"));
  const size_t before = -reinterpret_cast<uintptr_t>(mapped) % kHuge;
  char* const p = static_cast<char*>(mapped) + before;
  if (before) (void)munmap(mapped, before);
  (void)munmap(p + size, kHuge - before);
  (void)madvise(p, size, MADV_HUGEPAGE);
  return {p, [size](void* pages) { (void)munmap(pages, size); }};
}

std::shared_ptr<void> HostDevice::allocate(size_t bytes, Memory) { return allocate_pages(bytes); }
std::unique_ptr<Stream> HostDevice::stream() { return std::make_unique<HostStream>(); }

}  // namespace vivace
