#include "base/folder_writer.h"

#include <unistd.h>

#include "base/log.h"
#include "vivace/error.h"

namespace vivace {

namespace fs = std::filesystem;

void make_folder(const fs::path& path) {
  std::error_code error;
  if (!fs::create_directory(path, error) && error) throw UserError(cat("cannot make the folder ", path.string(), ": ", error.message()));
}

fs::path folder_path(const fs::path& path) { return fs::absolute(path / "").parent_path(); }

FolderWriter::FolderWriter(const fs::path& path)
    : path_(folder_path(path)), temporary_(path_.parent_path() / cat(".vivace-", ::getpid(), "-", path_.filename().string())) {
  make_folder(temporary_);
}

FolderWriter::~FolderWriter() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void FolderWriter::commit() {
  std::error_code error;
  const fs::path old = temporary_.string() + "-old";
  const bool replaces = fs::exists(path_, error);
  if (replaces) fs::rename(path_, old, error);
  if (!error) {
    fs::rename(temporary_, path_, error);
    std::error_code ignored;
    if (error && replaces) fs::rename(old, path_, ignored);
  }
  if (error) throw UserError(cat("cannot write ", path_.string(), ": ", error.message()));
  temporary_.clear();
  fs::remove_all(old, error);
}

}  // namespace vivace
