#include "base/files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>

#include "base/file_map.h"
#include "base/folder_writer.h"
#include "base/lost_pages.h"
#include "base/utf8.h"
#include "temp_folder.h"
#include "vivace/error.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

TEST(ReadLines, KnowsMarksAndBothEnds) {
  const TempFolder folder;
  const auto lines = [&](const std::string& text) {
    write_file(folder / "lines", text);
    return read_lines(folder / "lines");
  };
  using Lines = std::vector<std::string>;
  EXPECT_EQ(lines(""), Lines{});
  EXPECT_EQ(lines("\xef\xbb\xbf"), Lines{});
  EXPECT_EQ(lines("a\nb"), (Lines{"a", "b"}));
  EXPECT_EQ(lines("\xef\xbb\xbf"
                  "a\r\n\r\n\n b\rc \r\n"),
            (Lines{"a", "", "", " b\rc "}));
  EXPECT_NE(message_of<UserError>([&] { lines("\xfe\xff"); }).find("UTF-16"), std::string::npos);
  EXPECT_NE(message_of<UserError>([&] { lines(std::string("a\n\0b", 4)); }).find("zero byte"), std::string::npos);
}

TEST(IsFile, FollowsLinks) {
  const TempFolder folder;
  write_file(folder / "file", "");
  fs::create_symlink(folder / "file", folder / "link");
  fs::create_symlink("round", folder / "round");
  EXPECT_TRUE(is_file(folder / "file") && is_file(folder / "link") && is_folder(folder.path()));
  EXPECT_FALSE(is_file(folder.path()) || is_file(folder / "none") || is_folder(folder / "file") || is_folder(folder / "none"));
  EXPECT_NE(message_of<UserError>([&] { is_file(folder / "round"); }).find("round: cannot be read"), std::string::npos);
}

TEST(FolderWriter, TakesThePlaceOfWhatIsThereOrLeavesIt) {
  const TempFolder folder;
  const auto write = [&](const char* text, bool lost) {
    FolderWriter writer(folder / "out");
    write_file(writer / "file", text);
    if (lost) fs::remove_all((writer / "file").parent_path());  // as when its new name cannot be given
    writer.commit();
  };
  write("old", false);
  EXPECT_NE(message_of<UserError>([&] { write("new", true); }).find("cannot write "), std::string::npos);
  EXPECT_EQ(read_file(folder / "out/file"), "old");
  write("new", false);
  EXPECT_EQ(read_file(folder / "out/file"), "new");
  EXPECT_EQ(folder.files(), 1u);
}

TEST(IsWithin, FollowsLinksAndNames) {
  const TempFolder folder;
  fs::create_directories(folder / "a/b");
  fs::create_symlink(folder / "a", folder / "link");
  for (const char* path : {"a", "a/b", "a/c/d", "a/b/..", "link", "link/b"}) EXPECT_TRUE(is_within(folder / path, folder / "a")) << path;
  for (const char* path : {"", "ab", "a/..", "b"}) EXPECT_FALSE(is_within(folder / path, folder / "a")) << path;
}

TEST(Printable, IsOneLineThatSteersNoTerminal) {
  EXPECT_EQ(printable("a\nb\x1b[31m\x7f\t\u009b1m\u00e9\u20ac"), "a b [31m   1m\u00e9\u20ac");
  EXPECT_EQ(printable("\xc2"), "\xc2");
}

TEST(FileMap, MapsTheWholeFile) {
  const TempFolder folder;
  std::string text(3 * 4096 + 17, 'a');
  text.back() = 'z';
  write_file(folder / "weights", text);
  const auto map = FileMap::open(folder / "weights");
  ASSERT_EQ(map->size(), text.size());
  EXPECT_EQ(std::memcmp(map->data(), text.data(), text.size()), 0);
  for (size_t offset : {size_t{0}, size_t{1}, size_t{4096}, text.size() - 1, text.size(), size_t{1} << 60}) map->dont_need(offset, SIZE_MAX);
  EXPECT_EQ(std::memcmp(map->data(), text.data(), text.size()), 0) << "pages given back are read again from the file";
  fs::remove(folder / "weights");
  EXPECT_EQ(static_cast<char>(map->data()[text.size() - 1]), 'z') << "the map outlives the name";
}

TEST(FileMap, NamesWhatItCannotMap) {
  const TempFolder folder;
  const auto error = [&](const fs::path& path) { return message_of<UserError>([&] { FileMap::open(path); }); };
  EXPECT_EQ(error(folder / "gone"), (folder / "gone").string() + ": file not found");
  EXPECT_EQ(error(folder.path()), folder.path().string() + ": expected a file, found a folder");
  EXPECT_EQ(error("/dev/null"), "/dev/null: expected a regular file");
  write_file(folder / "empty", "");
  EXPECT_EQ(error(folder / "empty"), (folder / "empty").string() + ": the file is empty");
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(error(folder / "pipe"), (folder / "pipe").string() + ": expected a regular file");
  if (::geteuid() != 0) {  // root may read everything
    write_file(folder / "secret", "x");
    ::chmod((folder / "secret").c_str(), 0);
    EXPECT_EQ(error(folder / "secret"), (folder / "secret").string() + ": cannot be read: Permission denied");
  }
}

TEST(FileMap, NoticesThatAFileIsNotWhatItWas) {
  const TempFolder folder;
  const std::string text(20000, 'a');
  write_file(folder / "weights", text);
  const auto map = FileMap::open(folder / "weights");
  std::vector<std::byte> read(100);
  map->read(text.size() - read.size(), read);
  EXPECT_EQ(read.front(), std::byte{'a'});
  fs::rename(folder / "weights", folder / "renamed");
  map->check_unchanged();
  fs::resize_file(folder / "renamed", 5000);
  const std::string cut =
      (folder / "weights").string() + ": changed while it was in use (it had 20000 bytes and has 5000): start again once it is whole";
  EXPECT_EQ(message_of<UserError>([&] { map->check_unchanged(); }), cut);
  EXPECT_EQ(message_of<UserError>([&] { map->read(text.size() - read.size(), read); }), cut);
  // Other bytes in the same place.
  const auto other = FileMap::open(folder / "renamed");
  std::fstream(folder / "renamed") << "b";
  fs::last_write_time(folder / "renamed", fs::file_time_type::clock::now() + std::chrono::seconds(1));  // file systems' clocks are coarse
  EXPECT_EQ(message_of<UserError>([&] { other->check_unchanged(); }),
            (folder / "renamed").string() + ": changed while it was in use: start again once it is whole");
}

// What ends a process is looked at in another one.
TEST(LostPages, AreExplainedWithTheFilesName) {
  const TempFolder folder;
  write_file(folder / "whole", std::string(20000, 'w'));
  write_file(folder / "cut", std::string(20000, 'c'));
  const auto read_after = [&](bool explain, const char* name, bool mapped) {
    if (explain) explain_lost_pages("vivace");
    const auto first = FileMap::open(folder / "whole");
    auto map = FileMap::open(folder / name);
    const volatile std::byte* last = map->data() + map->size() - 1;
    fs::resize_file(folder / name, 100);
    if (!mapped) {
      map.reset();
      last = static_cast<const std::byte*>(::mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE, ::open((folder / name).c_str(), O_RDONLY), 0)) + 8000;
    }
    (void)*last;
    std::exit(0);
  };
  EXPECT_EXIT(read_after(true, "cut", true), testing::ExitedWithCode(1),
              "vivace: .*/cut: changed while it was in use: it was cut short, or its disk failed; start again");
  EXPECT_EXIT(read_after(true, "cut", false), testing::KilledBySignal(SIGBUS), "") << "a mapping of somebody else's";
  write_file(folder / "cut", std::string(20000, 'c'));
  EXPECT_EXIT(read_after(false, "cut", true), testing::KilledBySignal(SIGBUS), "") << "a library changes no handlers";
}

TEST(ReadFile, WholeContentWithinTheLimit) {
  const TempFolder folder;
  const std::string text(100000, 'q');
  write_file(folder / "a", text);
  EXPECT_EQ(read_file(folder / "a"), text);
  EXPECT_EQ(read_file(folder / "a", text.size()), text);
  EXPECT_NE(message_of<UserError>([&] { read_file(folder / "a", text.size() - 1); }).find("too large: at most 99999 bytes"), std::string::npos);
  EXPECT_FALSE(read_file("/proc/self/status").empty()) << "files without a size are read to their end";
  write_file(folder / "b", "");
  EXPECT_EQ(read_file(folder / "b"), "");
}

TEST(FileWriter, ReplacesAtOnceAndKeepsTheMode) {
  const TempFolder folder;
  write_file(folder / "a", "old");
  ::chmod((folder / "a").c_str(), 0640);
  FileWriter writer(folder / "a");
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    const std::string piece(static_cast<size_t>(i), static_cast<char>('a' + i % 26));
    writer.write(piece);
    expected += piece;
  }
  const std::string large(1 << 20, 'L');
  writer.write(large);
  expected += large;
  EXPECT_EQ(read_file(folder / "a"), "old") << "nothing is to be seen before commit";
  writer.commit();
  EXPECT_EQ(read_file(folder / "a"), expected);
  EXPECT_EQ(fs::status(folder / "a").permissions(), fs::perms::owner_read | fs::perms::owner_write | fs::perms::group_read);
  EXPECT_EQ(folder.files(), 1u);
}

TEST(FileWriter, AnErrorOrInterruptLeavesTheOldFile) {
  const TempFolder folder;
  write_file(folder / "a", "old");
  EXPECT_THROW(
      {
        FileWriter writer(folder / "a");
        writer.write(std::string(1 << 20, 'x'));
        throw Interrupted("stopped");
      },
      Interrupted);
  EXPECT_EQ(read_file(folder / "a"), "old");
  EXPECT_EQ(folder.files(), 1u) << "the temporary is removed";
}

TEST(FileWriter, FollowsSymbolicLinks) {
  const TempFolder folder;
  fs::create_directory(folder / "real");
  write_file(folder / "real/a", "old");
  fs::create_symlink("real/a", folder / "link");
  write_file(folder / "link", "new");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(read_file(folder / "real/a"), "new");
  fs::create_symlink("real/b", folder / "dangling");
  write_file(folder / "dangling", "made");
  EXPECT_EQ(read_file(folder / "real/b"), "made");
}

TEST(FileWriter, NamesWhyItCannotWrite) {
  const TempFolder folder;
  const auto error = [&](const fs::path& path) {
    const std::string message = message_of<UserError>([&] { write_file(path, "x"); });
    EXPECT_EQ(message_of<UserError>([&] { check_writable(path); }), message) << "the check before a long run says the same";
    return message;
  };
  const std::string gone = (folder / "gone").string();
  EXPECT_EQ(error(folder / "gone/x.png"), "cannot write " + gone + "/x.png: the folder " + gone + " does not exist: create it first");
  EXPECT_EQ(error(folder.path()), "cannot write " + folder.path().string() + ": it is a folder: give the name of a file in it");
  EXPECT_NE(error("").find("empty name"), std::string::npos);
  write_file(folder / "file", "x");
  EXPECT_NE(error(folder / "file/x.png").find("is not a folder"), std::string::npos);
  EXPECT_NO_THROW(check_writable(folder / "x.png"));
  EXPECT_FALSE(fs::exists(folder / "x.png"));
  if (::geteuid() != 0) {
    fs::create_directory(folder / "locked");
    fs::permissions(folder / "locked", fs::perms::owner_read | fs::perms::owner_exec);
    EXPECT_NE(error(folder / "locked/x.png").find("permission denied"), std::string::npos);
  }
}

TEST(FileWriter, FullDeviceIsAnError) {
  const std::string message = message_of<UserError>([] { write_file("/dev/full", "x"); });
  EXPECT_EQ(message, "cannot write /dev/full: the disk is full: free some space or choose another folder");
  EXPECT_NO_THROW(write_file("/dev/null", "x"));
  EXPECT_TRUE(fs::is_character_file("/dev/null")) << "a device is written to, not replaced";
}

// A file size limit stands in for the full disk: it fails a write in the middle, in a folder where the old file must survive.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    handler_ = ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    ::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit old_{};
  void (*handler_)(int) = nullptr;
};

TEST(FileWriter, FailureInTheMiddleLeavesTheOldFile) {
  const TempFolder folder;
  write_file(folder / "a", "old");
  std::string in_write, in_reserve;
  {
    const FileSizeLimit limit(100000);
    in_write = message_of<UserError>([&] { write_file(folder / "a", std::string(300000, 'x')); });
    in_reserve = message_of<UserError>([&] {
      FileWriter writer(folder / "a");
      writer.reserve(300000);
    });
  }
  EXPECT_EQ(in_write,
            "cannot write " + (folder / "a").string() + ": the file would exceed the size limit: raise it (ulimit -f) or choose another folder");
  EXPECT_EQ(in_write, in_reserve);
  EXPECT_EQ(read_file(folder / "a"), "old");
  EXPECT_EQ(folder.files(), 1u);
}

}  // namespace
}  // namespace vivace
