#include "base/file_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/lost_pages.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Closes the descriptor on every way out but the last.
struct Descriptor {
  int fd;
  int release() { return std::exchange(fd, -1); }
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

[[noreturn]] void fail(const std::filesystem::path& path) {
  const int error = errno;
  if (error == ENOENT || error == ENOTDIR) throw UserError(cat(path.string(), ": file not found"));
  throw UserError(cat(path.string(), ": cannot be read: ", std::strerror(error)));
}

FileStamp stamp_of(const struct stat& s) {
  const auto nanoseconds = [](const struct timespec& t) { return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; };
  return {s.st_dev, s.st_ino, static_cast<uint64_t>(s.st_size), nanoseconds(s.st_mtim), nanoseconds(s.st_ctim)};
}

size_t page_size() {
  static const auto size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

}  // namespace

std::string FileStamp::text() const { return cat("device ", device, " inode ", inode, " size ", size, " modified ", modified, " changed ", changed); }

std::shared_ptr<const FileMap> FileMap::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer; it is refused below.
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) fail(path);
  struct stat status {};
  if (::fstat(file.fd, &status) != 0) fail(path);
  if (S_ISDIR(status.st_mode)) throw UserError(cat(path.string(), ": expected a file, found a folder"));
  if (!S_ISREG(status.st_mode)) throw UserError(cat(path.string(), ": expected a regular file"));
  if (status.st_size == 0) throw UserError(cat(path.string(), ": the file is empty"));
  const auto size = static_cast<size_t>(status.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) fail(path);
  return std::shared_ptr<const FileMap>(new FileMap(path, file.release(), stamp_of(status), static_cast<const std::byte*>(data)));
}

FileMap::FileMap(std::filesystem::path path, int fd, const FileStamp& stamp, const std::byte* data)
    : path_(std::move(path)), fd_(fd), stamp_(stamp), data_(data) {
  remember_mapping(data_, size(), path_.c_str());
}

FileMap::~FileMap() {
  forget_mapping(data_);
  ::munmap(const_cast<std::byte*>(data_), size());
  ::close(fd_);
}

FileStamp FileMap::stamp_now() const {
  struct stat status {};
  if (::fstat(fd_, &status) != 0) fail(path_);
  return stamp_of(status);
}

void FileMap::check_unchanged() const {
  const FileStamp now = stamp_now();
  // Not `changed`: a file that is renamed or removed keeps its content.
  if (now.size != stamp_.size || now.modified != stamp_.modified) fail_changed();
}

void FileMap::fail_changed() const {
  const uint64_t size = stamp_now().size;
  throw UserError(cat(path_.string(), ": changed while it was in use",
                      size == stamp_.size ? "" : cat(" (it had ", stamp_.size, " bytes and has ", size, ")"), ": start again once it is whole"));
}

void FileMap::read(size_t offset, std::span<std::byte> to) const {
  while (!to.empty()) {
    const ssize_t got = ::pread(fd_, to.data(), to.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path_);
    if (got == 0) fail_changed();
    to = to.subspan(static_cast<size_t>(got));
    offset += static_cast<size_t>(got);
  }
}

void FileMap::dont_need(size_t offset, size_t size) const {
  if (offset >= this->size()) return;
  size_t end = offset + std::min(size, this->size() - offset);
  // Pages shared with a neighbouring range stay; the last page of the file has no neighbour behind it.
  if (end < this->size()) end = end / page_size() * page_size();
  const size_t begin = (offset + page_size() - 1) / page_size() * page_size();
  if (begin < end) ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

}  // namespace vivace
