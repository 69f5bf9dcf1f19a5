// The oracle: one plain kernel for every plain op, in float64, on one thread. Slow and clear; for tests alone.
// Named ops are not in its list: decompose them first (ops/decompose.h).
#pragma once

#include "runtime/device.h"

namespace vivace::ref {

const std::shared_ptr<Device>& device();

}  // namespace vivace::ref
