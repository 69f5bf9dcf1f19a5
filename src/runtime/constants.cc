#include "runtime/constants.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

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

std::shared_ptr<void> ConstantStore::find(const std::string& key, size_t bytes) {
  if (const auto found = entries_.find(key); found != entries_.end()) return found->second;
  for (const auto& file : files_)
    if (auto data = file->find(key, bytes)) {
      entries_.emplace(key, data);
      bytes_ += bytes;
      return data;
    }
  return nullptr;
}

void ConstantStore::put(const std::string& key, std::shared_ptr<void> data, size_t bytes) {
  if (!entries_.emplace(key, data).second) return;
  bytes_ += bytes;
  new_.push_back({key, std::move(data), bytes});
}

std::vector<Constant> ConstantStore::take_new() { return std::exchange(new_, {}); }

}  // namespace vivace
