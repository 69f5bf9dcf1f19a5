#pragma once

#include "runtime/device.h"

namespace vivace::cpu {

// On num_threads() threads at isa(), operations out of registers.
MachinePeak measure_peak();

}  // namespace vivace::cpu
