// Configs: any text gives a Config or a UserError, and so does any question to it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "vivace/error.h"

namespace {

using vivace::Config;

template <class Call>
void try_call(const Call& call) {
  try {
    call();
  } catch (const vivace::UserError& error) {
    if (std::string(error.what()).find('\n') != std::string::npos) std::abort();
  }
}

void ask(const Config& config, int depth) {
  try_call([&] { config.string_fields(); });
  for (const std::string& key : config.keys()) {
    if (!config.has(key)) std::abort();
    try_call([&] { config.get<bool>(key); });
    try_call([&] { config.get<int>(key); });
    try_call([&] { config.get_or<int64_t>(key, 1); });
    try_call([&] { config.get_optional<double>(key); });
    try_call([&] { config.get<std::string>(key); });
    try_call([&] { config.get<std::vector<int64_t>>(key); });
    try_call([&] { config.get<std::vector<std::optional<std::string>>>(key); });
    try_call([&] { config.int_per_level(key, 3, 2); });
    try_call([&] { config.ints_per_level(key, 3); });
    try_call([&] { config.bool_per_level(key, 3); });
    try_call([&] { config.one_of(key, {"silu", "gelu"}); });
    try_call([&] { config.require<double>(key, 1.0); });
    try_call([&] {
      for (const Config& entry : config.objects(key))
        if (depth < 3) ask(entry, depth + 1);
    });
    try_call([&] {
      const Config inner = config.object(key);
      if (depth < 3) ask(inner, depth + 1);
    });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try_call([&] { ask(Config::parse(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz.json"), 0); });
  return 0;
}
