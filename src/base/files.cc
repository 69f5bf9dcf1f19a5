#include "base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBufferSize = size_t{1} << 18;  // small pieces are gathered up to this before a system call

std::string reason(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "the disk is full: free some space or choose another folder";
    case EFBIG:
      return "the file would exceed the size limit: raise it (ulimit -f) or choose another folder";
    case EACCES:
    case EPERM:
      return "permission denied: choose a folder you may write to";
    case EROFS:
      return "the file system is read-only: choose another folder";
    default:
      return std::strerror(error);
  }
}

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

void check_folder(const fs::path& path) {
  std::error_code ignored;
  if (path.empty()) throw UserError("cannot write a file with an empty name: give a path such as out.png");
  const fs::path folder = folder_of(path);
  if (!fs::exists(folder, ignored))
    throw UserError(cat("cannot write ", path.string(), ": the folder ", folder.string(), " does not exist: create it first"));
  if (!fs::is_directory(folder, ignored)) throw UserError(cat("cannot write ", path.string(), ": ", folder.string(), " is not a folder"));
  if (fs::is_directory(path, ignored) || !path.has_filename())
    throw UserError(cat("cannot write ", path.string(), ": it is a folder: give the name of a file in it"));
}

fs::file_type type_of(const fs::path& path) {
  std::error_code error;
  const fs::file_type type = fs::status(path, error).type();
  if (type == fs::file_type::none) throw UserError(cat(path.string(), ": cannot be read: ", error.message()));
  return type;
}

// Something that exists and is no regular file (/dev/stdout, a pipe) cannot be replaced by a rename.
bool is_special(const fs::path& path) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  return fs::exists(status) && !fs::is_regular_file(status);
}

}  // namespace

std::string read_file(const fs::path& path, size_t max_bytes) {
  const auto fail = [&](int error) {
    if (error == ENOENT || error == ENOTDIR) throw UserError(cat(path.string(), ": file not found"));
    throw UserError(cat(path.string(), ": cannot be read: ", std::strerror(error)));
  };
  struct Descriptor {
    int fd;
    ~Descriptor() {
      if (fd >= 0) ::close(fd);
    }
  } const file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) fail(errno);
  struct stat status {};
  if (::fstat(file.fd, &status) != 0) fail(errno);
  if (S_ISDIR(status.st_mode)) throw UserError(cat(path.string(), ": expected a file, found a folder"));
  std::string text;
  // Read until the end and not by the size in the status: pipes and /proc files have none.
  for (size_t used = 0;;) {
    text.resize(used + (used == 0 ? static_cast<size_t>(std::max<off_t>(status.st_size, 0)) + 1 : kBufferSize));
    const ssize_t got = ::read(file.fd, text.data() + used, std::min(text.size() - used, max_bytes + 1 - used));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(errno);
    used += static_cast<size_t>(got);
    if (used > max_bytes) throw UserError(cat(path.string(), ": too large: at most ", max_bytes, " bytes are expected here"));
    if (got == 0) {
      text.resize(used);
      return text;
    }
  }
}

std::vector<std::string> read_lines(const fs::path& path) {
  const std::string text = read_file(path);
  std::string_view rest = text;
  if (rest.starts_with("\xff\xfe") || rest.starts_with("\xfe\xff")) throw UserError(cat(path.string(), ": is UTF-16: expected a text in UTF-8"));
  if (rest.find('\0') != rest.npos) throw UserError(cat(path.string(), ": is no text, it holds a zero byte: expected a text in UTF-8"));
  if (rest.starts_with("\xef\xbb\xbf")) rest.remove_prefix(3);
  std::vector<std::string> lines;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.emplace_back(line);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return lines;
}

bool is_file(const fs::path& path) { return type_of(path) == fs::file_type::regular; }
bool is_folder(const fs::path& path) { return type_of(path) == fs::file_type::directory; }

bool is_within(const fs::path& path, const fs::path& folder) {
  std::error_code ignored;
  const fs::path place = fs::relative(path, folder, ignored);
  return !place.empty() && *place.begin() != "..";
}

void check_writable(const fs::path& path) {
  check_folder(path);
  if (is_special(path) ? ::access(path.c_str(), W_OK) != 0 : ::access(folder_of(path).c_str(), W_OK | X_OK) != 0)
    throw UserError(cat("cannot write ", path.string(), ": ", reason(errno)));
}

FileWriter::FileWriter(const fs::path& path) : path_(path), target_(path) {
  check_folder(path);
  std::error_code ignored;
  if (is_special(path)) {
    fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd_ < 0) fail(errno);
    return;
  }
  // One link at a time and not fs::canonical, which does not follow a link to a file yet to be made. 40 is the kernel's own limit.
  for (int hops = 0; hops < 40 && fs::is_symlink(target_, ignored); ++hops) target_ = folder_of(target_) / fs::read_symlink(target_, ignored);
  static std::atomic<unsigned> counter{0};
  mode_t mode = 0666;
  struct stat existing {};
  const bool replaces = ::stat(target_.c_str(), &existing) == 0;
  if (replaces) mode = existing.st_mode & 0777;
  do {
    temporary_ = folder_of(target_) / cat(".vivace-", ::getpid(), "-", counter++, ".tmp");
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ < 0) {
    temporary_.clear();
    fail(errno);
  }
  if (replaces) ::fchmod(fd_, mode);  // the umask does not apply to a mode that is taken over
}

FileWriter::~FileWriter() { drop(); }

void FileWriter::drop() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

void FileWriter::fail(int error) {
  drop();
  throw UserError(cat("cannot write ", path_.string(), ": ", reason(error)));
}

void FileWriter::write_now(const std::byte* data, size_t size) {
  while (size > 0) {
    const ssize_t done = ::write(fd_, data, size);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail(errno);
    data += done;
    size -= static_cast<size_t>(done);
  }
}

void FileWriter::flush() {
  write_now(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void FileWriter::write(std::span<const std::byte> bytes) {
  if (fd_ < 0) throw InternalError(cat("write to ", path_.string(), " after it was closed"));
  if (buffer_.size() + bytes.size() > kBufferSize) flush();
  if (bytes.size() > kBufferSize) return write_now(bytes.data(), bytes.size());
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

void FileWriter::reserve(uint64_t bytes) {
  if (temporary_.empty()) return;
  const int error = ::posix_fallocate(fd_, 0, static_cast<off_t>(bytes));
  if (error == ENOSPC || error == EFBIG || error == EDQUOT) fail(error);  // others: the file system cannot reserve
}

void FileWriter::commit(bool sync) {
  if (fd_ < 0) throw InternalError(cat("commit of ", path_.string(), " after it was closed"));
  flush();
  if (sync && !temporary_.empty() && ::fsync(fd_) != 0) fail(errno);
  // A network file system may report a full disk only here.
  const int closed = ::close(std::exchange(fd_, -1));
  if (closed != 0 && errno != EINTR) fail(errno);
  if (temporary_.empty()) return;
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail(errno);
  temporary_.clear();
}

void write_file(const fs::path& path, std::span<const std::byte> bytes) {
  FileWriter file(path);
  file.write(bytes);
  file.commit();
}

void write_file(const fs::path& path, std::string_view text) { write_file(path, std::as_bytes(std::span(text.data(), text.size()))); }

}  // namespace vivace
