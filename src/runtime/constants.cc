#include "runtime/constants.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {

std::shared_ptr<void> allocate_pages(size_t bytes) {
  constexpr size_t kHuge = size_t{2} << 20;
  // Small blocks come from the heap: a mapping each would waste a page and a system call.
  if (bytes < kHuge / 4) {
    void* p = std::aligned_alloc(64, std::max<size_t>(64, (bytes + 63) / 64 * 64));
    if (!p) throw UserError(cat("out of memory: ", bytes, " bytes for weights or activations"));
    return {p, std::free};
  }
  const size_t size = (bytes + kHuge - 1) / kHuge * kHuge;
  void* p = std::aligned_alloc(kHuge, size);
  if (!p) throw UserError(cat("out of memory: ", bytes, " bytes for weights or activations; use a smaller size, batch or dtype"));
  (void)madvise(p, size, MADV_HUGEPAGE);
  return {p, std::free};
}

std::shared_ptr<void> ConstantStore::find(const std::string& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : found->second;
}

void ConstantStore::put(const std::string& key, std::shared_ptr<void> data, size_t bytes) {
  if (entries_.emplace(key, std::move(data)).second) bytes_ += bytes;
}

}  // namespace vivace
