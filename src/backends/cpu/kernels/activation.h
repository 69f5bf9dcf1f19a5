// Activations a kernel can apply in its epilogue, under their Diffusers names.
#pragma once

#include <cstdint>

namespace vivace::cpu {

enum class Act : uint8_t {
  none,
  silu,        // x / (1 + exp(-x))
  gelu,        // x/2 (1 + erf(x / sqrt 2))
  gelu_tanh,   // the tanh approximation
  quick_gelu,  // x / (1 + exp(-1.702 x))
  relu,
};

}  // namespace vivace::cpu
