// The CPU: kernels of our own for AVX2, AVX-512 and AVX-512 BF16, oneDNN below that, the oracle's plain kernels for what nobody else takes.
#pragma once

#include "runtime/kernel.h"

namespace vivace::cpu {

// All kernels in order of preference. Kernels named "ref_*" are the fallback that counts as a graph break.
const Backend& backend();

}  // namespace vivace::cpu
