#include "runtime/constants.h"

#include <sanitizer/asan_interface.h>  // its macros are empty in a build without AddressSanitizer

#include <algorithm>
#include <utility>

namespace vivace {

std::shared_ptr<void> ConstantStore::find(const std::string& key, size_t bytes, Stream& stream) {
  const std::lock_guard lock(mutex_);
  if (const auto found = entries_.find(key); found != entries_.end()) return found->second;
  for (const auto& file : files_)
    if (auto data = file->find(key, bytes)) {
      if (!device_->shares_host_memory()) data = upload(*device_, stream, data.get(), bytes);
      entries_.emplace(key, data);
      bytes_ += bytes;
      return data;
    }
  return nullptr;
}

void ConstantStore::put(const std::string& key, std::shared_ptr<void> data, size_t bytes, bool fresh) {
  const std::lock_guard lock(mutex_);
  if (!entries_.emplace(key, data).second) return;
  bytes_ += bytes;
  if (fresh) new_.push_back({key, std::move(data), bytes});
}

std::shared_ptr<void> ConstantStore::allocate(size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (!device_->shares_host_memory()) return device_->allocate(bytes);
  constexpr size_t kChunk = size_t{128} << 20;  // what is not used of it is never touched
  constexpr size_t kLine = 64;
  const size_t size = (bytes + kLine - 1) / kLine * kLine + kLine;  // a line apart, so that AddressSanitizer sees a kernel that leaves its own
  if (chunk_bytes_ - chunk_used_ < size) {
    chunk_bytes_ = std::max(kChunk, size);
    chunk_used_ = 0;
    auto pages = device_->allocate(chunk_bytes_);
    void* begin = pages.get();
    ASAN_POISON_MEMORY_REGION(begin, chunk_bytes_);
    chunk_ = std::shared_ptr<void>(begin, [pages = std::move(pages), bytes = chunk_bytes_](void* p) { ASAN_UNPOISON_MEMORY_REGION(p, bytes); });
  }
  void* block = static_cast<char*>(chunk_.get()) + chunk_used_;
  ASAN_UNPOISON_MEMORY_REGION(block, bytes);
  chunk_used_ += size;
  return {chunk_, block};
}

void ConstantStore::add_file(std::shared_ptr<const ConstantFile> file) {
  const std::lock_guard lock(mutex_);
  files_.push_back(std::move(file));
}

size_t ConstantStore::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

std::vector<Constant> ConstantStore::take_new() {
  const std::lock_guard lock(mutex_);
  return std::exchange(new_, {});
}

std::vector<Constant> on_host(std::vector<Constant> constants, Device& device, RequestCounters& counters) {
  if (device.shares_host_memory()) return constants;
  const std::unique_ptr<Stream> stream = device.stream();
  std::vector<Constant> copies = constants;
  for (Constant& c : copies) {
    std::shared_ptr<void> from = std::exchange(c.data, device.allocate(c.bytes, Memory::host));
    stream->copy_out(c.data.get(), from.get(), c.bytes);
  }
  stream->wait(counters);
  return copies;
}

}  // namespace vivace
