#include "base/hash.h"

#include <xxhash.h>

#include <cstdio>

namespace vivace {

Hash128 hash128(const void* data, size_t bytes) {
  const XXH128_hash_t hash = XXH3_128bits(data, bytes);
  return {hash.low64, hash.high64};
}

std::string to_string(const Hash128& hash) {
  char digits[33];
  std::snprintf(digits, sizeof(digits), "%016llx%016llx", static_cast<unsigned long long>(hash.high), static_cast<unsigned long long>(hash.low));
  return digits;
}

}  // namespace vivace
