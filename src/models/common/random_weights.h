// Weights that follow from a tensor's name, its shape and a seed alone, so that a full-size checkpoint can be made without a download and golden
// files need not store weights. tools/golden/weights.py is the same rule in Python:
//   r = uniform in [-1, 1) from mt19937 seeded with FNV-1a-32(name) XOR seed;  rank >= 2: r * sqrt(3 / fan_in), but 0.5 * r for embedding tables;
//   rank 1: 1 + 0.1 r for "*.weight" (norms), 0.1 r for biases.
#pragma once

#include <string>

#include "vivace/tensor.h"

namespace vivace {

Tensor random_weight(const std::string& name, const Shape& shape, uint32_t seed);  // float32

}  // namespace vivace
