// What memory there is for this process.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace vivace {

// Bytes that can be taken without others being swapped out: what Linux says is available (which page caches give back), or less where a control group
// allows less. Nothing where nobody says so. `root` is where /proc and /sys are looked for.
std::optional<uint64_t> available_memory(const std::filesystem::path& root = "/");

// "19.3 MB"; powers of 1000.
std::string bytes_text(double bytes);

}  // namespace vivace
