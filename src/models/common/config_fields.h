// Fields that several configurations share.
#pragma once

#include <string>

#include "base/json.h"

namespace vivace {

// An activation under its Diffusers or transformers name, as the op that computes it; `fallback` when missing or null.
inline std::string activation_field(const Config& config, std::string_view key, std::string_view fallback) {
  const std::string name = config.one_of(key, {"silu", "swish", "gelu", "relu", "quick_gelu", "gelu_new", "gelu_pytorch_tanh", ""}, fallback);
  if (name == "swish") return "silu";
  return name == "gelu_new" || name == "gelu_pytorch_tanh" ? "gelu_tanh" : name;
}

}  // namespace vivace
