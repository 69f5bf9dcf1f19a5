// A hint to the system about mapped files.
#pragma once

#include <cstddef>
#include <span>

namespace vivace {

// Starts reading these bytes of a mapped file. Changes nothing of what is read.
void will_need(std::span<const std::byte> mapped);

}  // namespace vivace
