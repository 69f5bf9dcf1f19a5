#include "runtime/constants.h"

#include <sanitizer/asan_interface.h>  // its macros are empty in a build without AddressSanitizer

#include <algorithm>
#include <atomic>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/parallel.h"
#include "base/will_need.h"
#include "vivace/error.h"

namespace vivace {

// By size. A block keeps its chunk; one that nobody has comes back while the store lives.
struct ConstantStore::FreeBlocks {
  std::mutex mutex;
  std::multimap<size_t, std::shared_ptr<void>> blocks;

  std::shared_ptr<void> take(size_t size) {
    const std::lock_guard lock(mutex);
    const auto found = blocks.find(size);
    return found == blocks.end() ? nullptr : blocks.extract(found).mapped();
  }
  void put(size_t size, std::shared_ptr<void> block) {
    const std::lock_guard lock(mutex);
    blocks.emplace(size, std::move(block));
  }
};

ConstantStore::ConstantStore(std::shared_ptr<Device> device) : device_(std::move(device)), free_(std::make_shared<FreeBlocks>()) {}

std::shared_ptr<void> ConstantStore::find(const ConstantId& id, size_t bytes, Stream& stream, Memory memory) {
  const std::lock_guard lock(mutex_);
  if (const auto found = entries_.find({id, memory}); found != entries_.end()) return found->second.data;
  for (size_t i = 0; i < files_.size();) {
    const std::shared_ptr<const ConstantFile> file = files_[i].file;
    const ConstantFile::Entry* entry = file->find(id, bytes);
    // What is copied is read now, and so checked now.
    const bool copied = !device_->shares_host_memory();
    if (entry && copied && !files_[i].whole[file->number_of(*entry)]) {
      if (!file->is_whole(*entry)) {
        drop(file);
        continue;
      }
      files_[i].whole[file->number_of(*entry)] = files_[i].news = true;
    }
    ++i;
    if (!entry) continue;
    if (!copied) found_.push_back({id, file, entry});
    std::shared_ptr<void> data = file->data(*entry);
    if (copied) data = copy_for(*device_, memory, stream, data.get(), bytes);
    bytes_[static_cast<size_t>(memory)] += bytes;
    return entries_.emplace(std::pair(id, memory), Entry{std::move(data), bytes, !copied}).first->second.data;
  }
  return nullptr;
}

void ConstantStore::erase(const ConstantId& id, Memory memory) {
  const auto found = entries_.find({id, memory});
  if (found == entries_.end()) return;
  bytes_[static_cast<size_t>(memory)] -= found->second.bytes;
  entries_.erase(found);
}

bool ConstantStore::check_found(const std::stop_token& stop) {
  const std::lock_guard lock(mutex_);
  std::vector<Found> found = std::exchange(found_, {});
  const auto known = std::ranges::stable_partition(found, [&](const Found& f) { return !file_of(f).whole[f.file->number_of(*f.entry)]; });
  std::vector<Found> unknown(found.begin(), known.begin());
  std::vector<uint8_t> whole(unknown.size());
  std::atomic<size_t> next{0};
  if (!unknown.empty())
    parallel_threads([&](int, int) {
      for (size_t i; !stop.stop_requested() && (i = next++) < unknown.size();) whole[i] = unknown[i].file->is_whole(*unknown[i].entry);
    });
  const bool all = std::ranges::all_of(whole, [](uint8_t w) { return w; }), stopped = !all && stop.stop_requested();
  if (all || stopped) {
    for (size_t i = 0; i < unknown.size(); ++i) {
      File& file = file_of(unknown[i]);
      if (whole[i]) file.whole[unknown[i].file->number_of(*unknown[i].entry)] = file.news = true;
    }
    tell_checked();
  }
  if (all) {
    read_ahead({known.begin(), known.end()});
    return true;
  }
  for (const Found& f : found) erase(f.id, Memory::device);
  if (stopped) throw Interrupted("stopped");
  for (size_t i = 0; i < unknown.size(); ++i)
    if (!whole[i]) drop(unknown[i].file);
  return false;
}

ConstantStore::File& ConstantStore::file_of(const Found& found) { return *std::ranges::find(files_, found.file, &File::file); }

void ConstantStore::tell_checked() {
  for (File& file : files_)
    if (std::exchange(file.news, false) && file.checked) file.checked(file.whole);
}

// Kernels read mapped bytes, and a page that is not there yet costs them a wait; a file that is read from one end to the other costs the disk least.
void ConstantStore::read_ahead(std::vector<Found> found) {
  if (found.empty()) return;
  std::ranges::reverse(found);  // a session looks its plan up from the end
  try {
    reading_ = std::jthread([found = std::move(found)](const std::stop_token& stop) {
      constexpr size_t kPiece = size_t{8} << 20;  // between two looks at `stop`
      for (const Found& f : found)
        for (auto rest = f.file->bytes_of(*f.entry); !rest.empty() && !stop.stop_requested(); rest = rest.subspan(std::min(kPiece, rest.size())))
          will_need(rest.first(std::min(kPiece, rest.size())));
    });
  } catch (const std::system_error&) {
    // There are no more threads to be had: kernels wait for their pages.
  }
}

void ConstantStore::drop(const std::shared_ptr<const ConstantFile>& file) {
  const auto at = std::ranges::find(files_, file, &File::file);
  if (at == files_.end()) return;
  const File bad = std::move(*at);
  files_.erase(at);
  bad.damaged(*bad.file);
}

void ConstantStore::put(const Constant& constant, bool fresh) {
  const std::lock_guard lock(mutex_);
  if (!entries_.emplace(std::pair(constant.id, constant.memory), Entry{constant.data, constant.bytes}).second) return;
  bytes_[static_cast<size_t>(constant.memory)] += constant.bytes;
  if (fresh) new_.push_back(constant);
}

std::shared_ptr<void> ConstantStore::on_device(const Constant& constant, Stream& stream) {
  const std::lock_guard lock(mutex_);
  const std::pair key(constant.id, Memory::device);
  if (const auto found = entries_.find(key); found != entries_.end()) return found->second.data;
  std::shared_ptr<void> copy = upload_pinned(*device_, stream, constant.data.get(), constant.bytes);
  entries_.emplace(key, Entry{copy, constant.bytes});
  bytes_[static_cast<size_t>(Memory::device)] += constant.bytes;
  return copy;
}

std::shared_ptr<void> ConstantStore::allocate(size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (!device_->shares_host_memory()) return device_->allocate(bytes);
  constexpr size_t kChunk = size_t{128} << 20;  // what is not used of it is never touched
  constexpr size_t kLine = 64;
  const size_t size = (bytes + kLine - 1) / kLine * kLine + kLine;  // a line apart, so that AddressSanitizer sees a kernel that leaves its own
  std::shared_ptr<void> block = free_->take(size);
  if (!block && chunk_bytes_ - chunk_used_ < size) {
    chunk_bytes_ = std::max(kChunk, size);
    chunk_used_ = 0;
    auto pages = device_->allocate(chunk_bytes_);
    void* begin = pages.get();
    ASAN_POISON_MEMORY_REGION(begin, chunk_bytes_);
    chunk_ = std::shared_ptr<void>(begin, [pages = std::move(pages), bytes = chunk_bytes_](void* p) { ASAN_UNPOISON_MEMORY_REGION(p, bytes); });
  }
  if (!block) {
    block = {chunk_, static_cast<char*>(chunk_.get()) + chunk_used_};
    chunk_used_ += size;
  }
  ASAN_UNPOISON_MEMORY_REGION(block.get(), bytes);
  void* const memory = block.get();
  return {memory, [block = std::move(block), size, blocks = std::weak_ptr(free_)](void* p) mutable {
            ASAN_POISON_MEMORY_REGION(p, size);
            if (const auto free = blocks.lock()) free->put(size, std::move(block));
          }};
}

void ConstantStore::forget(const std::set<ConstantId>& ids) {
  const std::lock_guard lock(mutex_);
  for (const ConstantId& id : ids)
    for (Memory memory : {Memory::device, Memory::host}) erase(id, memory);
  std::erase_if(new_, [&](const Constant& made) { return ids.contains(made.id); });
}

void ConstantStore::add_file(std::shared_ptr<const ConstantFile> file, Damaged damaged, Whole whole, Checked checked) {
  const std::lock_guard lock(mutex_);
  if (whole.size() != file->size()) whole.assign(file->size(), 0);
  files_.push_back({std::move(file), std::move(damaged), std::move(whole), std::move(checked)});
}

size_t ConstantStore::bytes(Memory memory) const {
  const std::lock_guard lock(mutex_);
  return bytes_[static_cast<size_t>(memory)];
}

size_t ConstantStore::taken_bytes() const {
  const std::lock_guard lock(mutex_);
  size_t bytes = 0;
  for (const auto& [key, entry] : entries_)
    if (key.second == Memory::device && !entry.mapped) bytes += entry.bytes;
  return bytes;
}

void ConstantStore::leave_device() {
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [](const auto& entry) { return entry.first.second == Memory::device; });
  std::erase_if(new_, [](const Constant& made) { return made.memory == Memory::device; });
  bytes_[static_cast<size_t>(Memory::device)] = 0;
}

void ConstantStore::clear() {
  const std::lock_guard lock(mutex_);
  reading_ = {};
  free_ = std::make_shared<FreeBlocks>();  // what comes back from now on serves nobody here
  entries_.clear();
  files_.clear();
  found_.clear();
  new_.clear();
  bytes_ = {};
  chunk_ = nullptr;
  chunk_bytes_ = chunk_used_ = 0;
}

std::vector<Constant> ConstantStore::take_new() {
  const std::lock_guard lock(mutex_);
  return std::exchange(new_, {});
}

std::shared_ptr<void> copy_for(Device& device, Memory memory, Stream& stream, const void* host, size_t bytes) {
  if (memory == Memory::device) return upload(device, stream, host, bytes);
  std::shared_ptr<void> copy = device.allocate(bytes, Memory::host);
  std::memcpy(copy.get(), host, bytes);
  return copy;
}

std::shared_ptr<void> upload_pinned(Device& device, Stream& stream, const void* pinned, size_t bytes) {
  std::shared_ptr<void> copy = device.allocate(bytes);
  const HostCopy whole{copy.get(), pinned, bytes};
  stream.ahead(0, {&whole, 1});
  stream.need(0);
  return copy;
}

}  // namespace vivace
