#include "base/cache_folder.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <functional>
#include <thread>

#include "base/background.h"
#include "base/files.h"
#include "base/log.h"
#include "temp_folder.h"
#include "vivace/error.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

std::function<void()> on_fsync;  // of one test

}  // namespace
}  // namespace vivace

// The C library's, with an ear.
extern "C" int fsync(int file) {
  if (vivace::on_fsync) vivace::on_fsync();
  return static_cast<int>(::syscall(SYS_fsync, file));
}

namespace vivace {
namespace {

CacheFolder cache_in(const TempFolder& folder, uint64_t max_bytes = 1'000'000) {
  return CacheFolder({.enabled = true, .folder = folder.path(), .max_bytes = max_bytes});
}

// An environment variable for one test.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    value ? ::setenv(name, value, 1) : ::unsetenv(name);
  }
  ~Environment() { old_ ? ::setenv(name_, old_->c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

TEST(CacheFolder, KeepsWhatWasWritten) {
  const TempFolder folder;
  const CacheFolder cache = cache_in(folder);
  EXPECT_FALSE(cache.read("plans", "a"));
  EXPECT_TRUE(cache.write("plans", "a", "first"));
  EXPECT_TRUE(cache.write("tuning", "a", std::string(100, '\0')));
  EXPECT_TRUE(cache.write("plans", "", "empty key"));
  EXPECT_TRUE(cache.write("plans", "empty", ""));
  EXPECT_EQ(cache.read("plans", "a"), "first");
  EXPECT_EQ(cache.read("tuning", "a"), std::string(100, '\0'));
  EXPECT_EQ(cache.read("plans", ""), "empty key");
  EXPECT_EQ(cache.read("plans", "empty"), "");
  EXPECT_FALSE(cache.read("plans", "b"));
  EXPECT_TRUE(cache.write("plans", "a", "second"));
  EXPECT_EQ(cache_in(folder).read("plans", "a"), "second") << "another start reads it";
  EXPECT_EQ(cache.entries().size(), 4u);
  EXPECT_GT(cache.clear(), 0u);
  EXPECT_TRUE(cache.entries().empty());
  EXPECT_EQ(folder.files(), 0u);
  EXPECT_FALSE(cache.read("plans", "a"));
}

TEST(CacheFolder, LargeEntriesAreStreamedAndMapped) {
  const TempFolder folder;
  const CacheFolder cache = cache_in(folder);
  const std::string piece(50'000, 'p');
  EXPECT_TRUE(cache.write("weights", "w", 2 * piece.size(), [&](const CacheFolder::Sink& sink) {
    sink(std::as_bytes(std::span(piece)));
    sink(std::as_bytes(std::span(piece)));
  }));
  const auto entry = cache.map("weights", "w");
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->payload.size(), 2 * piece.size());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(entry->payload.data()) % 64, 0u);
  EXPECT_EQ(std::memcmp(entry->payload.data() + piece.size(), piece.data(), piece.size()), 0);
  EXPECT_EQ(cache.read("weights", "w"), piece + piece);
  // An entry that its maker gave up on leaves nothing.
  EXPECT_THROW(cache.write("weights", "x", 10, [](const CacheFolder::Sink&) { throw Interrupted("stop"); }), Interrupted);
  EXPECT_THROW(cache.write("weights", "x", 10, [](const CacheFolder::Sink&) {}), InternalError);
  EXPECT_FALSE(cache.map("weights", "x"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "weights"), fs::directory_iterator()), 1);
}

TEST(CacheFolder, WhatIsAskedForIsNoUse) {
  const TempFolder folder;
  const CacheFolder cache = cache_in(folder);
  ASSERT_TRUE(cache.write("weights", "w", "payload"));
  const fs::path path = cache.entries()[0].path;
  const FileStamp before = FileMap::open(path)->stamp();
  EXPECT_TRUE(cache.holds("weights", "w"));
  EXPECT_FALSE(cache.holds("weights", "x"));
  EXPECT_EQ(FileMap::open(path)->stamp(), before);
  EXPECT_TRUE(cache.map("weights", "w"));
  EXPECT_NE(FileMap::open(path)->stamp(), before) << "a use has its time";
  std::ofstream(path, std::ios::binary) << "torn";
  EXPECT_FALSE(cache.holds("weights", "w"));
}

TEST(CacheFolder, AnEntryMayHaveToBeOnTheDiskBeforeItHasItsName) {
  const TempFolder folder;
  const CacheFolder cache = cache_in(folder);
  const auto fill = [](const CacheFolder::Sink& sink) { sink(std::as_bytes(std::span("12345", 5))); };
  for (const bool sync : {false, true}) {
    bool there = true;
    int syncs = 0;
    on_fsync = [&] {
      ++syncs;
      there = cache.holds("weights", cat(sync));
    };
    EXPECT_TRUE(cache.write("weights", cat(sync), 5, fill, sync));
    on_fsync = nullptr;
    EXPECT_EQ(syncs, sync);
    EXPECT_FALSE(sync && there);
    EXPECT_EQ(cache.read("weights", cat(sync)), "12345");
  }
}

TEST(CacheFolder, ADamagedEntryIsAbsent) {
  const TempFolder folder;
  const CacheFolder cache = cache_in(folder);
  ASSERT_TRUE(cache.write("plans", "key", "the payload"));
  const auto file_of = [&](const std::string& key) {
    for (const CacheEntry& e : cache.entries())
      if (e.key == key) return e.path;
    return fs::path();
  };
  const auto overwrite = [](const fs::path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; };
  const fs::path path = file_of("key");
  const std::string good = read_file(path);
  for (size_t i = 0; i < good.size(); ++i) {
    const bool padding = i >= 32 + 3 && i < 64;
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x41);
    overwrite(path, bad);
    EXPECT_EQ(cache.read("plans", "key").has_value(), padding) << "byte " << i;
    overwrite(path, std::string_view(good).substr(0, i));
    EXPECT_FALSE(cache.read("plans", "key")) << "cut at " << i;
  }
  overwrite(path, good + "x");
  EXPECT_FALSE(cache.read("plans", "key"));
  overwrite(path, good);
  EXPECT_EQ(cache.read("plans", "key"), "the payload");
  // A file of another key under this one's name, as if two keys had one hash.
  ASSERT_TRUE(cache.write("plans", "other", "another payload"));
  overwrite(path, read_file(file_of("other")));
  EXPECT_FALSE(cache.read("plans", "key"));
  EXPECT_TRUE(cache.write("plans", "key", "made again"));
  EXPECT_EQ(cache.read("plans", "key"), "made again");
}

// The exit code of `body` in another process, one whose user has no special rights.
int as_nobody(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(::geteuid() != 0 || ::setresuid(65534, 65534, 65534) == 0 ? body() : 99);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

TEST(CacheFolder, OneThatCannotBeWrittenIsRead) {
  const TempFolder folder;
  ASSERT_TRUE(cache_in(folder).write("plans", "a", "first"));
  ASSERT_TRUE(cache_in(folder).writable());
  for (const char* path : {"", "plans"}) ::chmod((folder.path() / path).c_str(), 0555);
  EXPECT_EQ(as_nobody([&] {
              const CacheFolder cache = cache_in(folder);
              if (!cache.enabled() || cache.writable()) return 1;
              if (cache.read("plans", "a") != "first" || !cache.map("plans", "a")) return 2;
              return cache.write("plans", "b", "second") ? 3 : 0;
            }),
            0);
  ::chmod(folder.path().c_str(), 0000);
  EXPECT_EQ(as_nobody([&] { return cache_in(folder).enabled() ? 1 : 0; }), 0);
  for (const char* path : {"", "plans"}) ::chmod((folder.path() / path).c_str(), 0755);
}

TEST(CacheFolder, WhatIsOnlyReadStaysAsItIs) {
  const TempFolder folder;
  ::chmod(folder.path().c_str(), 0777);
  EXPECT_EQ(as_nobody([&] {
              const CacheOptions own{.folder = folder / "own", .max_bytes = 100'000};
              if (!CacheFolder(own).write("plans", "a", "first")) return 1;
              for (const char* path : {"own/plans", "own"}) ::chmod((folder / path).c_str(), 0555);
              const CacheFolder cache(own);
              const auto stamp = [&] { return FileMap::open(cache.entries().at(0).path)->stamp(); };
              const FileStamp before = stamp();
              std::this_thread::sleep_for(std::chrono::milliseconds(20));  // past a tick of the kernel's clock
              const bool found = cache.read("plans", "a") == "first" && cache.map("plans", "a");
              const bool same = stamp() == before;
              for (const char* path : {"own", "own/plans"}) ::chmod((folder / path).c_str(), 0777);
              return cache.writable() ? 2 : !found ? 3 : same ? 0 : 4;
            }),
            0);
}

TEST(Background, DoesWithoutThreadsWhereThereAreNone) {
  bool done = false;
  run_in_background([&] { done = true; }).join();
  EXPECT_TRUE(done);
  EXPECT_EQ(available_threads(3), 3);
  EXPECT_EQ(as_nobody([] {
              const rlimit none{0, 0};
              ::setrlimit(RLIMIT_NPROC, &none);
              bool done = false;
              const bool joinable = run_in_background([&] { done = true; }).joinable();
              if (joinable || !done) return 1;
              return available_threads(3) == 1 ? 0 : 2;
            }),
            0);
}

TEST(CacheFolder, TheEntryUsedLongestAgoGoesFirst) {
  const TempFolder folder;
  const CacheFolder cache = cache_in(folder, 3500);
  write_file(folder / "mine.txt", std::string(5000, 'm'));
  fs::create_directory(folder / "sub");
  write_file(folder / "sub" / "mine.txt", std::string(5000, 'm'));
  const auto age = [&](const std::string& key, int hours) {
    for (const CacheEntry& e : cache.entries())
      if (e.key == key) fs::last_write_time(e.path, fs::file_time_type::clock::now() - std::chrono::hours(hours));
  };
  for (const char* key : {"a", "b", "c"}) ASSERT_TRUE(cache.write("plans", key, std::string(900, 'p')));
  age("a", 3), age("b", 5), age("c", 4);
  EXPECT_TRUE(cache.read("plans", "b")) << "a use, which makes it the newest";
  ASSERT_TRUE(cache.write("tuning", "d", std::string(900, 'p')));
  EXPECT_FALSE(cache.read("plans", "c"));
  EXPECT_TRUE(cache.read("plans", "a"));
  EXPECT_TRUE(cache.read("plans", "b"));
  EXPECT_TRUE(cache.read("tuning", "d"));
  EXPECT_FALSE(cache.write("plans", "large", std::string(4000, 'p'))) << "what does not fit at all is not kept";
  EXPECT_EQ(cache.entries().size(), 3u);
  // What a killed process left goes too, once it is old; other people's files stay.
  write_file(folder / "plans" / ".vivace-1-2.tmp", "half");
  fs::last_write_time(folder / "plans" / ".vivace-1-2.tmp", fs::file_time_type::clock::now() - std::chrono::hours(2));
  write_file(folder / "plans" / ".vivace-3-4.tmp", "half");
  ASSERT_TRUE(cache.write("plans", "e", "small"));
  EXPECT_FALSE(fs::exists(folder / "plans" / ".vivace-1-2.tmp"));
  EXPECT_TRUE(fs::exists(folder / "plans" / ".vivace-3-4.tmp"));
  cache.clear();
  EXPECT_TRUE(fs::exists(folder / "mine.txt"));
  EXPECT_TRUE(fs::exists(folder / "sub" / "mine.txt"));
}

TEST(CacheFolder, SeveralProcessesShareIt) {
  const TempFolder folder;
  const auto payload = [](int value) { return std::string(20'000, static_cast<char>('a' + value % 26)); };
  std::vector<pid_t> children;
  for (int child = 0; child < 4; ++child) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      const CacheFolder cache = cache_in(folder, 100'000);
      bool good = true;
      for (int i = 0; i < 60; ++i) {
        const std::string key = std::to_string(i % 7);
        cache.write("plans", key, payload(i % 7));
        // Whatever the others do, an entry is whole or absent.
        if (const auto found = cache.read("plans", key)) good = good && *found == payload(i % 7);
      }
      ::_exit(good ? 0 : 1);
    }
    children.push_back(pid);
  }
  for (pid_t pid : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
  }
  uint64_t total = 0;
  for (const CacheEntry& e : cache_in(folder).entries()) total += e.bytes;
  EXPECT_GT(total, 0u);
  EXPECT_LE(total, 100'000u);
}

TEST(CacheFolder, AFullDiskIsAWarning) {
  const TempFolder folder;
  const CacheFolder cache = cache_in(folder);
  std::vector<std::string> warnings;
  set_log_sink([&](LogLevel, const std::string& text) { warnings.push_back(text); });
  const auto old = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{}, small{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  small = limit;
  small.rlim_cur = 1000;
  ::setrlimit(RLIMIT_FSIZE, &small);
  EXPECT_FALSE(cache.write("plans", "a", std::string(5000, 'p')));
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, old);
  set_log_sink(nullptr);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("the cache is left as it is: cannot write"), std::string::npos) << warnings[0];
  EXPECT_FALSE(cache.read("plans", "a"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "plans"), fs::directory_iterator()), 0);
}

TEST(CacheFolder, WhereItLies) {
  const TempFolder folder;
  const Environment size("VIVACE_CACHE_SIZE", "5k"), own("VIVACE_CACHE_DIR", (folder / "own").c_str()),
      xdg("XDG_CACHE_HOME", (folder / "xdg").c_str()), home("HOME", (folder / "home").c_str());
  EXPECT_EQ(CacheFolder(CacheOptions{}).path(), folder / "own");
  EXPECT_EQ(CacheFolder(CacheOptions{}).max_bytes(), 5000u);
  EXPECT_EQ(CacheFolder(CacheOptions{.folder = folder / "given"}).path(), folder / "given");
  {
    const Environment none("VIVACE_CACHE_DIR", "");
    EXPECT_EQ(CacheFolder(CacheOptions{}).path(), folder / "xdg" / "vivace");
    const Environment relative("XDG_CACHE_HOME", "relative");
    EXPECT_EQ(CacheFolder(CacheOptions{}).path(), folder / "home" / ".cache" / "vivace");
    const Environment homeless("HOME", nullptr);
    EXPECT_FALSE(CacheFolder(CacheOptions{}).enabled());
  }
  const Environment none("VIVACE_CACHE_SIZE", "0");
  EXPECT_FALSE(CacheFolder(CacheOptions{}).enabled());
  EXPECT_TRUE(CacheFolder(CacheOptions{.max_bytes = 100}).enabled());
  EXPECT_FALSE(CacheFolder(CacheOptions{.enabled = false}).enabled());
  const Environment wrong("VIVACE_CACHE_SIZE", "many");
  EXPECT_EQ(message_of<UsageError>([] { CacheFolder{CacheOptions{}}; }),
            "VIVACE_CACHE_SIZE is \"many\": expected bytes, as 20000000000, 500M or 20G; 0 switches the cache off");
}

TEST(CacheFolder, WhatCannotBeRemovedIsSaid) {
  const TempFolder folder;
  for (const char* kind : {"plans", "tuning"}) ASSERT_TRUE(cache_in(folder).write(kind, "a", "b"));
  // Root may remove everything.
  const pid_t child = ::fork();
  if (child == 0) {
    const bool is_root = ::geteuid() == 0;
    for (const fs::path& path : {folder.path(), folder / "plans", folder / "tuning"})
      if (is_root && ::chown(path.c_str(), 65534, 65534) != 0) ::_exit(77);
    fs::permissions(folder / "plans", fs::perms::owner_read | fs::perms::owner_exec);
    if (is_root && ::setuid(65534) != 0) ::_exit(77);
    const std::string message = message_of<UserError>([&] { cache_in(folder).clear(); });
    ::_exit(message.find("1 of 2 entries cannot be removed: Permission denied") == std::string::npos || fs::exists(folder / "tuning"));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "root here cannot become another user";
  EXPECT_EQ(WEXITSTATUS(status), 0);
  fs::permissions(folder / "plans", fs::perms::owner_all);
}

TEST(CacheFolder, OffWhereItCannotBe) {
  const TempFolder folder;
  write_file(folder / "file", "x");
  const CacheFolder cache({.folder = folder / "file" / "below", .max_bytes = 1000});
  EXPECT_FALSE(cache.enabled());
  EXPECT_FALSE(cache.write("plans", "a", "b"));
  EXPECT_FALSE(cache.read("plans", "a"));
  EXPECT_TRUE(cache.entries().empty());
  EXPECT_EQ(cache.clear(), 0u);
}

TEST(CacheFolder, SizesInWords) {
  EXPECT_EQ(parse_bytes("0"), 0u);
  EXPECT_EQ(parse_bytes("4096"), 4096u);
  EXPECT_EQ(parse_bytes("500M"), 500'000'000u);
  EXPECT_EQ(parse_bytes("1.5GB"), 1'500'000'000u);
  EXPECT_EQ(parse_bytes("20g"), 20'000'000'000u);
  for (const char* bad : {"", "G", "-1", "5X", "5MM", "1e300", "nan", "inf", " 5", "5 G"}) EXPECT_FALSE(parse_bytes(bad)) << bad;
}

}  // namespace
}  // namespace vivace
