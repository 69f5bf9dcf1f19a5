// The cache on disk: plans, packed weights and tuning results, so that a second start repeats no work.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "vivace/api.h"

namespace vivace VIVACE_API {

struct CacheOptions {
  bool enabled = true;
  // Default: VIVACE_CACHE_DIR, else XDG_CACHE_HOME/vivace, else ~/.cache/vivace. Where it cannot be made or written, caching is off.
  std::filesystem::path folder;
  // What the folder may hold in all; the entries used longest ago go first. Default: VIVACE_CACHE_SIZE (bytes, or as "500M", "20G"), else 20 GB. 0:
  // off.
  std::optional<uint64_t> max_bytes;
};

}  // namespace VIVACE_API
