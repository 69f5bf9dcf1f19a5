// Small formulas of positions that shape rules, the oracle and kernels share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <span>

namespace vivace {

// Whether nothing but sizes of 1 comes before an axis: its entries then follow one another in memory, and so do parts along it.
inline bool is_outermost(std::span<const int64_t> shape, int64_t axis) {
  return std::ranges::all_of(shape.first(static_cast<size_t>(axis)), [](int64_t n) { return n == 1; });
}

// How many frames at the front of a video's batch stand for themselves alone where time is made finer or coarser: the first, where the rest is even.
inline int64_t first_apart(int64_t frames) { return frames > 1 && frames % 2 != 0 ? 1 : 0; }

// The side of a square of `area` entries; 0 where it is none.
inline int64_t square_side(int64_t area) {
  const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(area))));
  return side * side == area ? side : 0;
}

// T5's bucket, both directions, of a key `delta` tokens behind its query: small distances have a bucket each, larger ones share logarithmic steps.
inline int64_t relative_position_bucket(int64_t delta, int64_t buckets, int64_t max_distance) {
  const int64_t half = buckets / 2, exact = half / 2, distance = std::abs(delta), side = delta > 0 ? half : 0;
  if (distance < exact) return side + distance;
  // Single precision, as the reference takes it: distances on a bucket's edge depend on it.
  const float steps = std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
                      static_cast<float>(std::log(static_cast<double>(max_distance) / static_cast<double>(exact))) * static_cast<float>(half - exact);
  return side + std::min(half - 1, exact + static_cast<int64_t>(steps));
}

}  // namespace vivace
