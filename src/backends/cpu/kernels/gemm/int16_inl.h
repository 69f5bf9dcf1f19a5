// The vector loops around int16_row.h, compiled per level. Internal linkage.
#pragma once

#include <cstring>

#include "backends/cpu/kernels/gemm/elements_inl.h"
#include "backends/cpu/kernels/gemm/level.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

template <class From>
void measure(const void* from, int64_t n, RowSize& size) {
  const From* f = static_cast<const From*>(from);
  VF squares[2] = {Zero(), Zero()};
  VI largest = Set(size.largest);  // the order of magnitudes is that of their bits, with infinity and NaN above all numbers
  const auto look = [&](VF x, int which) {
    squares[which] = MulAdd(x, x, squares[which]);
    largest = Max(largest, BitCast(Abs(x)));
  };
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) look(load(f + i), 0), look(load(f + i + kLanes), 1);
  for (; i < n; i += kLanes) {
    From rest[kLanes] = {};
    std::memcpy(rest, f + i, static_cast<size_t>(n - i < kLanes ? n - i : kLanes) * sizeof(From));
    look(load(rest), 0);
  }
  alignas(64) float sums[kLanes];
  alignas(64) int32_t magnitudes[kLanes];
  StoreU(squares[0] + squares[1], sums);
  std::memcpy(magnitudes, &largest, sizeof largest);
  for (int j = 0; j < kLanes; ++j) {
    size.squares += sums[j];
    if (magnitudes[j] > size.largest) size.largest = magnitudes[j];
  }
}

// inverse 0: zeros, whatever the values are.
template <class From>
void to_int16(const void* from, float inverse, int16_t* to, int64_t n) {
  if (inverse == 0) {
    std::memset(to, 0, static_cast<size_t>(n) * sizeof *to);
    return;
  }
  const From* f = static_cast<const From*>(from);
  const VF factor = Set(inverse);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store_int16([&](int at) { return load(f + i + at) * factor; }, to + i);
  if (i == n) return;
  From rest[16] = {};
  int16_t rounded[16];
  std::memcpy(rest, f + i, static_cast<size_t>(n - i) * sizeof(From));
  to_int16<From>(rest, inverse, rounded, 16);
  std::memcpy(to + i, rounded, static_cast<size_t>(n - i) * sizeof *to);
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
