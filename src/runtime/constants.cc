#include "runtime/constants.h"

#include <sanitizer/asan_interface.h>  // its macros are empty in a build without AddressSanitizer
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

std::shared_ptr<void> ConstantStore::allocate(size_t bytes) {
  constexpr size_t kChunk = size_t{128} << 20;  // what is not used of it is never touched
  constexpr size_t kLine = 64;
  const size_t size = (bytes + kLine - 1) / kLine * kLine + kLine;  // a line apart, so that AddressSanitizer sees a kernel that leaves its own
  if (chunk_bytes_ - chunk_used_ < size) {
    chunk_bytes_ = std::max(kChunk, size);
    chunk_used_ = 0;
    auto pages = allocate_pages(chunk_bytes_);
    void* begin = pages.get();
    ASAN_POISON_MEMORY_REGION(begin, chunk_bytes_);
    chunk_ = std::shared_ptr<void>(begin, [pages = std::move(pages), bytes = chunk_bytes_](void* p) { ASAN_UNPOISON_MEMORY_REGION(p, bytes); });
  }
  void* block = static_cast<char*>(chunk_.get()) + chunk_used_;
  ASAN_UNPOISON_MEMORY_REGION(block, bytes);
  chunk_used_ += size;
  return {chunk_, block};
}

std::vector<Constant> ConstantStore::take_new() { return std::exchange(new_, {}); }

}  // namespace vivace
