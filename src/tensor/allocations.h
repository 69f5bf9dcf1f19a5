// How many tensors this thread has taken memory for; views and copies take none.
#pragma once

#include <cstdint>

namespace vivace {

int64_t tensor_allocations();

}  // namespace vivace
