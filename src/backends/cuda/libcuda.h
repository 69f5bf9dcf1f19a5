// The driver of this machine.
#pragma once

#include <memory>

#include "backends/cuda/driver.h"

namespace vivace::cuda {

// Of GPU `number`. Throws UserError saying what is missing: the driver's library, a GPU of that number, NVRTC.
std::unique_ptr<Driver> open_driver(int number);

}  // namespace vivace::cuda
