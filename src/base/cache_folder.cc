#include "base/cache_folder.h"

#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/files.h"
#include "base/log.h"
#include "vivace/error.h"

namespace vivace {
namespace {

namespace fs = std::filesystem;

constexpr char kMagic[8] = {'V', 'I', 'V', 'A', 'C', 'E', 'C', 'E'};
constexpr uint32_t kVersion = 1;
constexpr size_t kAlignment = 64;  // of the payload: what kernels want
constexpr uint64_t kDefaultBytes = 20'000'000'000;
// A temporary file this old belongs to a process that was killed.
constexpr auto kStale = std::chrono::hours(1);

struct Header {
  char magic[8];
  uint32_t version, key_bytes;
  uint64_t payload_bytes;
  uint64_t checksum;  // of what is before it, then the key
};
static_assert(sizeof(Header) == 32);

uint64_t header_checksum(const Header& header, std::string_view key) {
  return XXH3_64bits_withSeed(key.data(), key.size(), XXH3_64bits(&header, offsetof(Header, checksum)));
}

size_t payload_offset(size_t key_bytes) { return (sizeof(Header) + key_bytes + kAlignment - 1) / kAlignment * kAlignment; }

std::string header_text(std::string_view key, uint64_t payload_bytes) {
  Header header{.magic = {}, .version = kVersion, .key_bytes = static_cast<uint32_t>(key.size()), .payload_bytes = payload_bytes, .checksum = 0};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.checksum = header_checksum(header, key);
  std::string text(payload_offset(key.size()), '\0');
  std::memcpy(text.data(), &header, sizeof(header));
  std::ranges::copy(key, text.data() + sizeof(header));
  return text;
}

struct Parsed {
  std::string_view key;
  std::span<const std::byte> payload;
  uint64_t checksum = 0;  // of the payload
};

std::optional<Parsed> parse(std::span<const std::byte> file) {
  Header header;
  if (file.size() < sizeof(header)) return std::nullopt;
  std::memcpy(&header, file.data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0 || header.version != kVersion) return std::nullopt;
  if (header.key_bytes > file.size() - sizeof(header)) return std::nullopt;
  const std::string_view key(reinterpret_cast<const char*>(file.data()) + sizeof(header), header.key_bytes);
  if (header.checksum != header_checksum(header, key)) return std::nullopt;
  const size_t offset = payload_offset(header.key_bytes);
  if (file.size() < offset + sizeof(uint64_t) || header.payload_bytes != file.size() - offset - sizeof(uint64_t)) return std::nullopt;
  Parsed parsed{key, file.subspan(offset, header.payload_bytes), 0};
  std::memcpy(&parsed.checksum, file.data() + offset + header.payload_bytes, sizeof(uint64_t));
  return parsed;
}

std::shared_ptr<const FileMap> open(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return nullptr;
  try {
    return FileMap::open(path);
  } catch (const UserError&) {
    return nullptr;  // empty, unreadable, or removed by another process just now
  }
}

const char* environment(const char* name) {
  const char* value = std::getenv(name);
  return value && *value ? value : nullptr;
}

fs::path default_folder() {
  if (const char* own = environment("VIVACE_CACHE_DIR")) return own;
  if (const char* xdg = environment("XDG_CACHE_HOME"); xdg && *xdg == '/') return fs::path(xdg) / "vivace";
  if (const char* home = environment("HOME")) return fs::path(home) / ".cache" / "vivace";
  return {};
}

uint64_t default_bytes() {
  const char* text = environment("VIVACE_CACHE_SIZE");
  if (!text) return kDefaultBytes;
  if (const auto bytes = parse_bytes(text)) return *bytes;
  throw UsageError(cat("VIVACE_CACHE_SIZE is \"", text, "\": expected bytes, as 20000000000, 500M or 20G; 0 switches the cache off"));
}

bool is_temporary(const fs::path& path) { return path.filename().string().starts_with(".vivace-"); }

// An entry or the temporary file of one. Others are not touched: the folder may be one that the user keeps other things in.
bool is_ours(const fs::path& path) {
  const std::string name = path.filename().string();
  return is_temporary(path) || (name.size() == 32 && name.find_first_not_of("0123456789abcdef") == name.npos);
}

// Every file of ours, one level below the folder. Another process may remove any of them meanwhile.
std::vector<CacheEntry> files_in(const fs::path& folder) {
  std::vector<CacheEntry> files;
  std::error_code error;
  for (fs::directory_iterator kinds(folder, error), end; !error && kinds != end; kinds.increment(error)) {
    std::error_code inner;
    for (fs::directory_iterator at(kinds->path(), inner); !inner && at != end; at.increment(inner)) {
      if (!is_ours(at->path())) continue;
      CacheEntry entry{.kind = kinds->path().filename().string(), .key = "", .path = at->path(), .bytes = 0, .last_used = {}};
      std::error_code gone;
      entry.bytes = at->file_size(gone);
      if (!gone) entry.last_used = at->last_write_time(gone);
      if (!gone) files.push_back(std::move(entry));
    }
  }
  return files;
}

}  // namespace

std::optional<uint64_t> parse_bytes(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || !std::isfinite(value) || value < 0) return std::nullopt;
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  constexpr std::string_view kUnits = "KMGT";
  if (!unit.empty()) {
    const size_t power = kUnits.find(static_cast<char>(unit[0] & ~0x20));
    if (power == kUnits.npos) return std::nullopt;
    value *= std::pow(1000.0, static_cast<double>(power + 1));
    unit.remove_prefix(1);
    if (!unit.empty() && unit != "B") return std::nullopt;
  }
  if (value >= static_cast<double>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return static_cast<uint64_t>(value);
}

CacheFolder::CacheFolder(const CacheOptions& options) {
  if (!options.enabled) return;
  max_bytes_ = options.max_bytes ? *options.max_bytes : default_bytes();
  if (max_bytes_ == 0) return;
  const fs::path folder = options.folder.empty() ? default_folder() : options.folder;
  std::error_code error;
  if (!folder.empty()) fs::create_directories(folder, error);
  if (!folder.empty() && !error && ::access(folder.c_str(), R_OK | X_OK) == 0) {
    folder_ = fs::absolute(folder, error);
    writable_ = ::access(folder.c_str(), W_OK) == 0;
    if (writable_) return;
  }
  static std::atomic<bool> told{false};
  if (told.exchange(true)) return;
  if (enabled())
    info("the cache is only read: ", folder.string(), " cannot be written");
  else
    warn(folder.empty() ? std::string("no cache: neither VIVACE_CACHE_DIR, XDG_CACHE_HOME nor HOME is set")
                        : cat("no cache: ", folder.string(), " cannot be made or read"),
         "; every start prepares the model anew (--no-cache says that this is meant)");
}

fs::path CacheFolder::file(std::string_view kind, std::string_view key) const { return folder_ / kind / hash_text(key); }

std::optional<MappedEntry> CacheFolder::find(std::string_view kind, std::string_view key) const {
  const auto map = enabled() ? open(file(kind, key)) : nullptr;
  if (!map) return std::nullopt;
  const auto parsed = parse(map->bytes());
  if (!parsed || parsed->key != key) return std::nullopt;
  return MappedEntry{map, parsed->payload};
}

std::optional<MappedEntry> CacheFolder::map(std::string_view kind, std::string_view key) const {
  auto entry = find(kind, key);
  std::error_code ignored;
  // And not the access time, which many systems do not keep. An owner may set it where nothing can be written.
  if (entry && writable_) fs::last_write_time(file(kind, key), fs::file_time_type::clock::now(), ignored);
  return entry;
}

bool CacheFolder::holds(std::string_view kind, std::string_view key) const { return find(kind, key).has_value(); }

std::optional<std::string> CacheFolder::read(std::string_view kind, std::string_view key) const {
  const auto entry = map(kind, key);
  if (!entry) return std::nullopt;
  const auto parsed = parse(entry->file->bytes());
  if (parsed->checksum != XXH3_64bits(entry->payload.data(), entry->payload.size())) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(entry->payload.data()), entry->payload.size());
}

bool CacheFolder::write(std::string_view kind, std::string_view key, std::string_view payload) const {
  return write(kind, key, payload.size(), [&](const Sink& sink) { sink(std::as_bytes(std::span(payload))); });
}

bool CacheFolder::write(std::string_view kind, std::string_view key, uint64_t payload_bytes, const std::function<void(const Sink&)>& fill,
                        bool sync) const {
  const uint64_t bytes = payload_offset(key.size()) + payload_bytes + sizeof(uint64_t);
  if (!enabled() || !writable_ || bytes > max_bytes_) return false;
  const fs::path path = file(kind, key);
  std::error_code ignored;
  fs::create_directories(path.parent_path(), ignored);
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(state.get());
  try {
    FileWriter writer(path);
    writer.reserve(bytes);
    writer.write(header_text(key, payload_bytes));
    uint64_t written = 0;
    fill([&](std::span<const std::byte> piece) {
      XXH3_64bits_update(state.get(), piece.data(), piece.size());
      writer.write(piece);
      written += piece.size();
    });
    if (written != payload_bytes) throw InternalError(cat("a cache entry of ", payload_bytes, " bytes got ", written));
    const uint64_t checksum = XXH3_64bits_digest(state.get());
    writer.write(std::as_bytes(std::span(&checksum, 1)));
    writer.commit(sync);
  } catch (const UserError& error) {
    warn("the cache is left as it is: ", error.what());
    return false;
  }
  make_room(path);
  return true;
}

void CacheFolder::remove(std::string_view kind, std::string_view key) const {
  std::error_code ignored;
  if (enabled()) fs::remove(file(kind, key), ignored);
}

void CacheFolder::make_room(const fs::path& newest) const {
  std::vector<CacheEntry> files = files_in(folder_);
  const auto now = fs::file_time_type::clock::now();
  std::error_code ignored;
  uint64_t total = 0;
  std::erase_if(files, [&](const CacheEntry& f) {
    const bool stale = is_temporary(f.path) && now - f.last_used > kStale;
    if (stale) fs::remove(f.path, ignored);
    if (!stale) total += f.bytes;
    return stale || is_temporary(f.path) || f.path == newest;
  });
  std::ranges::sort(files, {}, &CacheEntry::last_used);
  for (const CacheEntry& oldest : files) {
    if (total <= max_bytes_) return;
    // A process that has the entry mapped keeps its pages.
    fs::remove(oldest.path, ignored);
    total -= oldest.bytes;
  }
}

std::vector<CacheEntry> CacheFolder::entries() const {
  if (!enabled()) return {};
  std::vector<CacheEntry> result;
  for (CacheEntry& entry : files_in(folder_)) {
    if (is_temporary(entry.path)) continue;
    const auto map = open(entry.path);
    const auto parsed = map ? parse(map->bytes()) : std::nullopt;
    if (!parsed) continue;
    entry.key = parsed->key;
    result.push_back(std::move(entry));
  }
  std::ranges::sort(result, std::greater(), &CacheEntry::last_used);
  return result;
}

uint64_t CacheFolder::clear() const {
  uint64_t freed = 0;
  if (!enabled()) return freed;
  const std::vector<CacheEntry> files = files_in(folder_);
  size_t left = 0;
  std::string why;
  for (const CacheEntry& entry : files) {
    std::error_code error, ignored;
    if (fs::remove(entry.path, error)) freed += entry.bytes;
    if (error) ++left, why = error.message();
    fs::remove(entry.path.parent_path(), ignored);  // which does nothing while it holds more
  }
  if (left > 0)
    throw UserError(
        cat(folder_.string(), ": ", left, " of ", files.size(), " entries cannot be removed: ", why, "; expected a folder that this user may write"));
  return freed;
}

}  // namespace vivace
