// What files of adapters call their tensors.
#pragma once

#include <algorithm>
#include <string_view>

namespace vivace {

// Whether a tensor is of an adapter as such files hold them, as its name says.
inline bool is_of_adapter(std::string_view name) {
  constexpr std::string_view kParts[] = {".alpha", "lora", "hada_", "lokr_", "dora_scale"};
  return std::ranges::any_of(kParts, [&](std::string_view part) { return name.find(part) != name.npos; });
}

}  // namespace vivace
