#include "base/memory_size.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

namespace vivace {
namespace {

namespace fs = std::filesystem;

// The number that follows `field` at the beginning of a line; of a file of one number with an empty `field`. None where it is "max" or missing.
std::optional<uint64_t> number_in(const fs::path& path, const std::string& field) {
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    if (field.empty() || word == field) {
      if (!field.empty() && !(file >> word)) return std::nullopt;
      if (word.find_first_not_of("0123456789") != std::string::npos || word.size() > 19) return std::nullopt;
      return std::stoull(word);
    }
  }
  return std::nullopt;
}

// What a group of version 2 leaves; its page cache counts as used and can be given back.
std::optional<uint64_t> left_in(const fs::path& group) {
  const auto most = number_in(group / "memory.max", ""), used = number_in(group / "memory.current", "");
  if (!most || !used) return std::nullopt;
  const uint64_t cached = number_in(group / "memory.stat", "inactive_file").value_or(0) + number_in(group / "memory.stat", "active_file").value_or(0);
  const uint64_t taken = *used - std::min(*used, cached);
  return *most - std::min(*most, taken);
}

}  // namespace

std::optional<uint64_t> available_memory(const fs::path& root) {
  constexpr uint64_t kKilobyte = 1024;
  std::optional<uint64_t> bytes = number_in(root / "proc/meminfo", "MemAvailable:");
  if (bytes) *bytes *= kKilobyte;
  // "0::/user.slice/a.scope": every group above counts too.
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with("0::/")) continue;
    const fs::path mount = root / "sys/fs/cgroup";
    fs::path group = line.size() > 4 ? mount / line.substr(4) : mount;
    for (;; group = group.parent_path()) {
      if (const auto left = left_in(group); left && (!bytes || *left < *bytes)) bytes = left;
      if (group == mount || !group.has_relative_path()) break;
    }
  }
  return bytes;
}

std::string bytes_text(double bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  for (; bytes >= 1000 && unit < 4; ++unit) bytes /= 1000;
  char text[64];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : bytes < 10 ? "%.2f %s" : bytes < 100 ? "%.1f %s" : "%.0f %s", bytes, kUnits[unit]);
  return text;
}

}  // namespace vivace
