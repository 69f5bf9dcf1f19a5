// A read-only memory map of a whole file. The pages stay in the page cache; nothing is copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace vivace {

// Which content a file has, as the kernel tells it: times in nanoseconds. `changed` (ctime) is the kernel's own, which nobody can set; `modified` is
// anybody's.
struct FileStamp {
  uint64_t device = 0, inode = 0, size = 0;
  int64_t modified = 0, changed = 0;
  bool operator==(const FileStamp&) const = default;
  // For keys: equal texts, equal stamps.
  std::string text() const;
};

class FileMap {
 public:
  // Throws UserError that names the file: missing, unreadable, a directory or other special file, empty.
  // Where a file is cut short while it is mapped, reading a page that is gone raises SIGBUS: see lost_pages.h, and check_unchanged().
  static std::shared_ptr<const FileMap> open(const std::filesystem::path& path);
  ~FileMap();
  FileMap(const FileMap&) = delete;
  FileMap& operator=(const FileMap&) = delete;

  const std::byte* data() const { return data_; }
  size_t size() const { return stamp_.size; }
  std::span<const std::byte> bytes() const { return {data_, size()}; }
  const std::filesystem::path& path() const { return path_; }
  // Of the file when it was opened, and now.
  const FileStamp& stamp() const { return stamp_; }
  FileStamp stamp_now() const;

  // Throws UserError that names the file where it has another size or time of modification than when it was opened: its content is not to be trusted.
  void check_unchanged() const;
  // Copies [offset, offset + to.size()) without the map. Throws UserError that names the file where it has been cut short or cannot be read.
  void read(size_t offset, std::span<std::byte> to) const;

  // Gives back the resident pages that lie wholly inside the range [offset, offset + size), cut to the file. Changes nothing of what is read.
  void dont_need(size_t offset, size_t size) const;

 private:
  FileMap(std::filesystem::path path, int fd, const FileStamp& stamp, const std::byte* data);
  [[noreturn]] void fail_changed() const;

  std::filesystem::path path_;
  int fd_;  // stays open, to look whether the file is still the same
  FileStamp stamp_;
  const std::byte* data_;
};

}  // namespace vivace
