#pragma once

#include <cstdint>

namespace vivace {

// Where memory lies: of a value of a plan, of a buffer, and for a kernel where its operands do.
enum class Memory : uint8_t { device, host };

}  // namespace vivace
