// Lists of names in messages.
#pragma once

#include <functional>
#include <string>

#include "base/log.h"

namespace vivace {

// joined({"a", "b"}) is "a, b"; `name_of` is what stands for an element, as in std::ranges algorithms.
template <class Range, class Projection = std::identity>
std::string joined(const Range& range, const char* between = ", ", Projection name_of = {}) {
  std::string text;
  for (const auto& element : range) text += cat(text.empty() ? "" : between, std::invoke(name_of, element));
  return text;
}

}  // namespace vivace
