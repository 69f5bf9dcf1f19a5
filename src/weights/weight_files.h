// Which files hold the weights of a component folder.
#pragma once

#include <filesystem>
#include <string_view>

namespace vivace {

struct WeightFiles {
  std::filesystem::path path;  // a .safetensors file or an index
  bool is_index = false;
  bool is_variant = false;
};

// See WeightMap::open. Throws UserError that says what was found instead.
WeightFiles find_weight_files(const std::filesystem::path& folder, std::string_view variant);

}  // namespace vivace
