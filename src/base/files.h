// Reading small files whole, and writing files so that a reader sees the old content or the new, never a part.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vivace {

// The whole file as bytes. Throws UserError that names the file: missing, unreadable, a folder, or larger than max_bytes.
std::string read_file(const std::filesystem::path& path, size_t max_bytes = size_t{256} << 20);

// The lines of a text, without their ends ("\n" or "\r\n") and without the byte-order mark that some editors put first. Throws as read_file, and
// UserError for a text in UTF-16.
std::vector<std::string> read_lines(const std::filesystem::path& path);
// Follow links. Throw UserError where nobody may look.
bool is_file(const std::filesystem::path& path);
bool is_folder(const std::filesystem::path& path);
// `path` is the folder or lies in it, wherever links lead.
bool is_within(const std::filesystem::path& path, const std::filesystem::path& folder);

// Throws UserError unless a file could be made at `path`: its folder must exist and be writable, `path` must not be a folder.
// Long runs call this first, so that they do not fail at the very end.
void check_writable(const std::filesystem::path& path);

// Writes to a temporary file in the folder of `path`; commit() gives it its name. Destroyed without commit (an error, Interrupted),
// it removes the temporary and leaves whatever was at `path` as it was. A device or pipe at `path` is written to directly,
// a symbolic link is followed. Errors are UserError with the path and the reason (no such folder, no permission, disk full).
class FileWriter {
 public:
  explicit FileWriter(const std::filesystem::path& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  // Claims disk space for `bytes` in all, so that a full disk is noticed before the work is done, where the file system can.
  void reserve(uint64_t bytes);
  // Flushes, syncs to the disk, closes and renames. Without `sync` a crash of the machine soon after may leave a file with holes under the name: for
  // what carries a checksum and can be made again.
  void commit(bool sync = true);

 private:
  void flush();
  void drop();
  void write_now(const std::byte* data, size_t size);
  [[noreturn]] void fail(int error);

  std::filesystem::path path_;       // as given, for messages
  std::filesystem::path target_;     // with symbolic links followed
  std::filesystem::path temporary_;  // empty when writing directly
  int fd_ = -1;
  std::vector<std::byte> buffer_;
};

// The whole of `bytes` as one FileWriter would write it.
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file(const std::filesystem::path& path, std::string_view text);

}  // namespace vivace
