// The vector loops around tensor/narrow_weight.h's int8, compiled per level: the same numbers. Internal linkage.
#pragma once

#include <cstring>

#include "backends/cpu/kernels/gemm/elements_inl.h"
#include "backends/cpu/kernels/gemm/level.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

// The larger of absmax() and, with `pairs`, largest_pair(): as bits, whose order is that of magnitudes, with infinity and NaN above all numbers.
int32_t int8_size(const float* values, int64_t n, bool pairs) {
  VI largest = Set(0);
  const auto look = [&](VF x) {
    largest = Max(largest, BitCast(Abs(x)));
    if (!pairs) return;
    const VF other = Reverse2(x);
    const VI differ = ShiftRight<31>(Xor(BitCast(x), BitCast(other)));  // all ones where the signs do
    largest = Max(largest, Sub(BitCast(Abs(x + other)), And(differ, BitCast(Abs(x + other)))));
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) look(LoadU(values + i));
  if (i < n) look(LoadN(values + i, n - i));
  return ReduceMax(largest);
}

// int8() of each value by the inverse of its row's scale, and their sum. inverse 0: zeros, whatever the values are.
int32_t to_int8(const float* values, int64_t n, float inverse, int8_t* to) {
  if (inverse == 0) {
    std::memset(to, 0, static_cast<size_t>(n));
    return 0;
  }
  const VF factor = Set(inverse), low = Set(-127.f), high = Set(127.f);
  VI sum = Set(0);
  const auto narrow = [&](VF x) {
    const VI q = NearestInt(Min(Max(x * factor, low), high));
    sum = Add(sum, q);
    return q;
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_bytes(narrow(LoadU(values + i)), 0, to + i);
  if (i < n) {
    int8_t rest[kLanes];
    store_bytes(narrow(LoadN(values + i, n - i)), 0, rest);
    std::memcpy(to + i, rest, static_cast<size_t>(n - i));
  }
  alignas(64) int32_t lanes[kLanes];
  std::memcpy(lanes, &sum, sizeof sum);
  int32_t all = 0;
  for (int32_t lane : lanes) all += lane;
  return all;
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
