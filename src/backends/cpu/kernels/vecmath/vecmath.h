// Elementary functions over arrays of floats: at most 4 ulp from the true value, NaN kept, infinities and overflow as in libm. One thread.
// x and y may be the same memory.
#pragma once

#include <cstdint>

namespace vivace::cpu {

struct VectorMath {
  using Function = void (*)(const float* x, float* y, int64_t count);
  Function exp, log, tanh, erf, sigmoid, sin, cos, silu, gelu, gelu_tanh, quick_gelu;
};

// The functions of the level that isa() allows.
const VectorMath& vector_math() noexcept;

}  // namespace vivace::cpu
