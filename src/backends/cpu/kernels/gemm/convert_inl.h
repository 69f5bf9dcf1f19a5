// Element conversions of whole rows, which are also the packing of A and the decoding of W. Internal linkage, compiled per level.
#pragma once

#include <algorithm>
#include <cstring>

#include "backends/cpu/kernels/gemm/elements_inl.h"
#include "backends/cpu/kernels/gemm/level.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

template <class From, class To>
void convert(const void* from, void* to, int64_t n) {
  const From* f = static_cast<const From*>(from);
  To* t = static_cast<To*>(to);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(load(f + i), t + i);
  if (i == n) return;
  From staged_from[kLanes] = {};
  To staged_to[kLanes];
  std::memcpy(staged_from, f + i, static_cast<size_t>(n - i) * sizeof(From));
  store(load(staged_from), staged_to);
  std::memcpy(t + i, staged_to, static_cast<size_t>(n - i) * sizeof(To));
}

template <class T>
void copy(const void* from, void* to, int64_t n) {
  std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
