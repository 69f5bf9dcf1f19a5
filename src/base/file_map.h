// A read-only memory map of a whole file. The pages stay in the page cache; nothing is copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace vivace {

class FileMap {
 public:
  // Throws UserError that names the file: missing, unreadable, a directory or other special file, empty.
  // The file must not be truncated while it is mapped: reading a page that is gone ends the process (SIGBUS).
  static std::shared_ptr<const FileMap> open(const std::filesystem::path& path);
  ~FileMap();
  FileMap(const FileMap&) = delete;
  FileMap& operator=(const FileMap&) = delete;

  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

  // Hints for the range [offset, offset + size), cut to the file; neither changes what is read.
  // will_need starts reading ahead. dont_need gives back the resident pages that lie wholly inside the range.
  void will_need(size_t offset, size_t size) const;
  void dont_need(size_t offset, size_t size) const;

 private:
  FileMap(std::filesystem::path path, const std::byte* data, size_t size) : path_(std::move(path)), data_(data), size_(size) {}

  std::filesystem::path path_;
  const std::byte* data_;
  size_t size_;
};

}  // namespace vivace
