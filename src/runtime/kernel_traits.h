// What others than a kernel itself need to know of it: stands in its entry, and in the plans that use it.
#pragma once

#include <cstdint>

namespace vivace {

enum KernelTrait : uint8_t {
  kGraphBreak = 1,     // one of the oracle's: right, an order of magnitude slower, outside of the fused code
  kInt16Products = 2,  // multiplies factors of int16
  kWinograd = 4,       // a convolution with Winograd's transforms
};

}  // namespace vivace
