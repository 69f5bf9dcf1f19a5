#include "base/memory_size.h"

#include <fstream>

#include "temp_folder.h"

namespace vivace {
namespace {

// A root with these files.
void write(const TempFolder& root, const std::string& name, const std::string& text) {
  const std::filesystem::path path = root.path() / name;
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

TEST(MemorySize, AvailableIsWhatLinuxSays) {
  EXPECT_GT(available_memory().value(), 0u);
  const TempFolder root;
  EXPECT_FALSE(available_memory(root.path())) << "nothing says so";
  write(root, "proc/meminfo", "MemTotal:       24000000 kB\nMemFree:         1000000 kB\nMemAvailable:   20000000 kB\n");
  EXPECT_EQ(available_memory(root.path()), 20'480'000'000u);
}

TEST(MemorySize, AControlGroupMayAllowLess) {
  const TempFolder root;
  write(root, "proc/meminfo", "MemAvailable:   20000000 kB\n");
  write(root, "proc/self/cgroup", "0::/outer/inner\n");
  write(root, "sys/fs/cgroup/outer/inner/memory.max", "max\n");
  write(root, "sys/fs/cgroup/outer/inner/memory.current", "3000000000\n");
  EXPECT_EQ(available_memory(root.path()), 20'480'000'000u);
  write(root, "sys/fs/cgroup/outer/memory.max", "8000000000\n");
  write(root, "sys/fs/cgroup/outer/memory.current", "5000000000\n");
  write(root, "sys/fs/cgroup/outer/memory.stat", "anon 1\ninactive_file 500000000\nactive_file 500000000\n");
  EXPECT_EQ(available_memory(root.path()), 4'000'000'000u) << "page cache can be given back";
  write(root, "sys/fs/cgroup/outer/inner/memory.max", "2000000000\n");
  EXPECT_EQ(available_memory(root.path()), 0u) << "used up";
}

TEST(MemorySize, BytesInWords) {
  EXPECT_EQ(bytes_text(999), "999 B");
  EXPECT_EQ(bytes_text(9.99e6), "9.99 MB");
  EXPECT_EQ(bytes_text(23.76e9), "23.8 GB");
  EXPECT_EQ(bytes_text(123.4e9), "123 GB");
}

}  // namespace
}  // namespace vivace
