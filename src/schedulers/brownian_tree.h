// Brownian motion that can be asked for any interval again and again: torchsde's BrownianInterval as Diffusers makes it (a halfway tree, resolved to
// 1e-6), number for number.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "vivace/tensor.h"

namespace vivace {

// numpy.random.SeedSequence(entropy, spawn_key, pool_size=24).generate_state(n).
std::vector<uint32_t> seed_sequence(uint64_t entropy, std::span<const uint64_t> spawn_key, int n);

// Immutable, and not stored: the increment over half of a known interval follows from a seed that the interval has, so a query walks down from the
// whole interval, some twenty draws of a sample for each of its ends.
class BrownianTree {
 public:
  // Of float32 samples of `shape` over times from t0 to t1 > t0.
  BrownianTree(Shape shape, double t0, double t1, uint64_t entropy);

  // What the motion adds between two times, the later one first or second.
  Tensor increment(double from, double to) const;

 private:
  struct Node {
    double start, end;
    uint64_t key;  // its place among the nodes of its depth
    uint64_t depth;
  };
  void add(const Node& node, const Tensor& motion, double from, double to, Tensor& sum) const;

  Shape shape_;
  double start_, end_;
  uint64_t entropy_;
  Tensor whole_;
};

}  // namespace vivace
