#include "models/common/random_weights.h"

#include <cmath>

#include "vivace/generator.h"

namespace vivace {
namespace {

uint32_t fnv1a(const std::string& text) {
  uint32_t h = 2166136261u;
  for (unsigned char c : text) h = (h ^ c) * 16777619u;
  return h;
}

}  // namespace

Tensor random_weight(const std::string& name, const Shape& shape, uint32_t seed) {
  Tensor t = Generator(fnv1a(name) ^ seed).rand(shape);
  float offset = 0, gain = 0.1f;
  if (shape.size() >= 2) {
    int64_t fan_in = 1;
    for (size_t d = 1; d < shape.size(); ++d) fan_in *= shape[d];
    gain = name.ends_with("embedding.weight") ? 0.5f : static_cast<float>(std::sqrt(3.0 / static_cast<double>(fan_in)));
  } else if (name.ends_with(".weight")) {
    offset = 1;
  }
  for (float& x : t.floats()) x = offset + gain * (2 * x - 1);
  return t;
}

}  // namespace vivace
