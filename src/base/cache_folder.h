// The cache directory: entries by kind and key, a file each, shared by any number of processes. An entry is a hint and never needed: whatever is
// wrong with one (damaged, cut short, another version, another key with the same hash) makes it absent, and whoever asked makes it again.
//
//   <folder>/<kind>/<hash of the key, 32 hexadecimal digits>
//   header: "VIVACECE", u32 format version, u32 key bytes, u64 payload bytes, u64 XXH3 of these and the key; the key; zeros up to a multiple of 64
//   payload; u64 XXH3 of the payload.    Numbers are little endian.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_map.h"
#include "base/hash.h"
#include "vivace/cache.h"

namespace vivace {

// "500M", "20G", "1.5T", "4096": bytes, powers of 1000. nullopt for anything else.
std::optional<uint64_t> parse_bytes(std::string_view text);

// An entry where it lies in its file; `payload` is aligned to 64 bytes and valid as long as `file`.
struct MappedEntry {
  std::shared_ptr<const FileMap> file;
  std::span<const std::byte> payload;
};

struct CacheEntry {
  std::string kind, key;
  std::filesystem::path path;
  uint64_t bytes = 0;
  std::filesystem::file_time_type last_used;
};

// What is kept: a folder each.
namespace cache_kind {
inline constexpr std::string_view kPlans = "plans", kWeights = "weights", kTuning = "tuning", kContents = "contents", kChecks = "checks",
                                  kKernels = "kernels";
}

class CacheFolder {
 public:
  // Off: nothing is found and nothing is kept.
  CacheFolder() = default;
  // Resolves the defaults and makes the folder. One that cannot be written is read; where it cannot be made or read either the cache is off. One info
  // line a process says so.
  // Throws UsageError when VIVACE_CACHE_SIZE is no size.
  explicit CacheFolder(const CacheOptions& options);

  bool enabled() const { return !folder_.empty(); }
  bool writable() const { return writable_; }
  const std::filesystem::path& path() const { return folder_; }
  uint64_t max_bytes() const { return max_bytes_; }

  // The payload, checked whole; nullopt where there is no such entry. A use, where the folder can be written. `kind` is a folder's name.
  std::optional<std::string> read(std::string_view kind, std::string_view key) const;
  // The same without reading the payload: header and size are checked, the payload's checksum is not.
  std::optional<MappedEntry> map(std::string_view kind, std::string_view key) const;
  // Whether map() finds it. No use of it: the file stays as it is, its times too.
  bool holds(std::string_view kind, std::string_view key) const;

  // Both replace the entry at once or not at all, then make room. False where the folder cannot be written and, with a warning, when the disk is full
  // or the like: never throws for that.
  bool write(std::string_view kind, std::string_view key, std::string_view payload) const;
  // For large entries: `fill` passes the payload on in pieces, payload_bytes in all, and may throw, which leaves nothing behind (no UserError: the
  // disk's are). `sync`: the entry has its name once it is on the disk, so that no crash of the machine leaves holes in it.
  using Sink = std::function<void(std::span<const std::byte>)>;
  bool write(std::string_view kind, std::string_view key, uint64_t payload_bytes, const std::function<void(const Sink&)>& fill,
             bool sync = false) const;

  void remove(std::string_view kind, std::string_view key) const;

  // What lies there, last used first.
  std::vector<CacheEntry> entries() const;
  // Removes everything of ours; the bytes that became free. Throws UserError where some of it cannot be removed, after the rest is.
  uint64_t clear() const;

 private:
  std::filesystem::path file(std::string_view kind, std::string_view key) const;
  std::optional<MappedEntry> find(std::string_view kind, std::string_view key) const;
  // Removes entries, those used longest ago first, until all fit; `newest` stays. Removes what interrupted processes left half written.
  void make_room(const std::filesystem::path& newest) const;

  std::filesystem::path folder_;
  uint64_t max_bytes_ = 0;
  bool writable_ = false;
};

}  // namespace vivace
