#include "base/file_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Closes the descriptor on every way out; the mapping outlives it.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

[[noreturn]] void fail(const std::filesystem::path& path) {
  const int error = errno;
  if (error == ENOENT || error == ENOTDIR) throw UserError(cat(path.string(), ": file not found"));
  throw UserError(cat(path.string(), ": cannot be read: ", std::strerror(error)));
}

size_t page_size() {
  static const auto size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

}  // namespace

std::shared_ptr<const FileMap> FileMap::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer; it is refused below.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) fail(path);
  struct stat status {};
  if (::fstat(file.fd, &status) != 0) fail(path);
  if (S_ISDIR(status.st_mode)) throw UserError(cat(path.string(), ": expected a file, found a folder"));
  if (!S_ISREG(status.st_mode)) throw UserError(cat(path.string(), ": expected a regular file"));
  if (status.st_size == 0) throw UserError(cat(path.string(), ": the file is empty"));
  const auto size = static_cast<size_t>(status.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) fail(path);
  return std::shared_ptr<const FileMap>(new FileMap(path, static_cast<const std::byte*>(data), size));
}

FileMap::~FileMap() { ::munmap(const_cast<std::byte*>(data_), size_); }

void FileMap::will_need(size_t offset, size_t size) const {
  if (offset >= size_) return;
  const size_t end = offset + std::min(size, size_ - offset), begin = offset / page_size() * page_size();
  ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_WILLNEED);
}

void FileMap::dont_need(size_t offset, size_t size) const {
  if (offset >= size_) return;
  size_t end = offset + std::min(size, size_ - offset);
  // Pages shared with a neighbouring range stay; the last page of the file has no neighbour behind it.
  if (end < size_) end = end / page_size() * page_size();
  const size_t begin = (offset + page_size() - 1) / page_size() * page_size();
  if (begin < end) ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

}  // namespace vivace
