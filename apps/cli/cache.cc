// vivace cache: what lies in the cache directory.
#include <chrono>
#include <map>

#include "base/cache_folder.h"
#include "base/log.h"
#include "commands.h"
#include "options.h"
#include "output.h"

namespace vivace::cli {
namespace {

struct CacheCommandFlags {
  CacheFlags cache;
  bool clear = false;
};

// "3 min ago"
std::string age_text(std::filesystem::file_time_type then) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(std::filesystem::file_time_type::clock::now() - then).count();
  if (seconds < 120) return cat(seconds, " s ago");
  if (seconds < 2 * 3600) return cat(seconds / 60, " min ago");
  return seconds < 48 * 3600 ? cat(seconds / 3600, " h ago") : cat(seconds / 86400, " days ago");
}

// Keys are short lines, but nothing makes sure of it.
std::string shortened(const std::string& key) { return key.size() <= 100 ? key : key.substr(0, 97) + "..."; }

void list(const CacheFolder& cache, const std::vector<CacheEntry>& entries) {
  std::map<std::string, std::pair<int, uint64_t>> kinds;
  uint64_t total = 0;
  Table table({"kind", "size", "last used", "what"});
  for (const CacheEntry& e : entries) {
    table.add({e.kind, bytes_text(static_cast<double>(e.bytes)), age_text(e.last_used), shortened(e.key)});
    ++kinds[e.kind].first;
    kinds[e.kind].second += e.bytes;
    total += e.bytes;
  }
  print(cat(cache.path().string(), ": ", bytes_text(static_cast<double>(total)), " of ", bytes_text(static_cast<double>(cache.max_bytes())), "\n"));
  for (const auto& [kind, sum] : kinds) print(cat(kind, ": ", sum.first, ", ", bytes_text(static_cast<double>(sum.second)), "\n"));
  if (!entries.empty()) print("\n" + table.text());
}

int run_cache(const CacheCommandFlags& o, const Common& common) {
  const CacheFolder cache(o.cache.options());
  if (!cache.enabled()) {
    if (common.json)
      print_json({{"enabled", false}});
    else
      print("the cache is off\n");
    return 0;
  }
  const uint64_t freed = o.clear ? cache.clear() : 0;
  const std::vector<CacheEntry> entries = cache.entries();
  if (common.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const CacheEntry& e : entries) list.push_back({{"kind", e.kind}, {"key", e.key}, {"bytes", e.bytes}, {"file", e.path.string()}});
    print_json({{"enabled", true}, {"folder", cache.path().string()}, {"max_bytes", cache.max_bytes()}, {"freed", freed}, {"entries", list}});
  } else if (o.clear) {
    print(cat(cache.path().string(), ": ", bytes_text(static_cast<double>(freed)), " freed\n"));
  } else {
    list(cache, entries);
  }
  return 0;
}

}  // namespace

Command add_cache(Arguments& app, const Common& common) {
  auto o = std::make_shared<CacheCommandFlags>();
  Arguments* c = app.add_subcommand("cache", "What the cache on disk holds: plans, packed weights, tuning results");
  o->cache.add(*c);
  c->add_flag("--clear", o->clear, "Remove all of it");
  return {c, [o, &common] { return run_cache(*o, common); }};
}

}  // namespace vivace::cli
