// The CPU: kernels of our own for AVX2, AVX-512 and AVX-512 BF16, oneDNN below that, the oracle's plain kernels for what nobody else takes.
#pragma once

#include "runtime/device.h"

namespace vivace::cpu {

// Kernels named "ref_*" are the fallback that counts as a graph break. Its target follows set_num_threads() and limit_isa().
const std::shared_ptr<Device>& device();

}  // namespace vivace::cpu
