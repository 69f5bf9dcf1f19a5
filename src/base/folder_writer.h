// Writing a folder so that a reader sees the old one or the new one, never a part.
#pragma once

#include <filesystem>
#include <string>

namespace vivace {

// Throws UserError with the reason where it cannot be made; one that is there already will do.
void make_folder(const std::filesystem::path& path);

// A path as a folder's, without the slash at its end.
std::filesystem::path folder_path(const std::filesystem::path& path);

// The folder while it is being written: beside the one it becomes, removed unless commit() gives it its name, in place of what had it.
class FolderWriter {
 public:
  explicit FolderWriter(const std::filesystem::path& path);
  ~FolderWriter();
  FolderWriter(const FolderWriter&) = delete;
  FolderWriter& operator=(const FolderWriter&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return temporary_ / name; }
  void commit();

 private:
  std::filesystem::path path_, temporary_;
};

}  // namespace vivace
