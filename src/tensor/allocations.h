// How many tensors have taken memory since the process began; views and copies take none.
#pragma once

#include <cstdint>

namespace vivace {

int64_t tensor_allocations();

}  // namespace vivace
