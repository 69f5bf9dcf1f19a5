// Element conversions of whole rows, which are also the packing of A, the decoding of W and the quantisation. Internal linkage, compiled per level.
#pragma once

#include <algorithm>
#include <cstring>

#include "backends/cpu/kernels/gemm/level.h"
#include "backends/cpu/kernels/gemm/simd_inl.h"

namespace vivace::cpu::gemm_detail {
namespace {

template <class From, class To>
inline void convert_lanes(const From* from, To* to) {
  store(to, load(from));
}
inline void convert_lanes(const int8_t* from, int16_t* to) { widen(from, to); }

template <class From, class To>
void convert(const void* from, void* to, int64_t n) {
  const From* f = static_cast<const From*>(from);
  To* t = static_cast<To*>(to);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) convert_lanes(f + i, t + i);
  if (i == n) return;
  From staged_from[kLanes] = {};
  To staged_to[kLanes];
  std::memcpy(staged_from, f + i, static_cast<size_t>(n - i) * sizeof(From));
  convert_lanes(staged_from, staged_to);
  std::memcpy(t + i, staged_to, static_cast<size_t>(n - i) * sizeof(To));
}

template <class T>
void copy(const void* from, void* to, int64_t n) {
  std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
}

// int8 and uint8 with zero point 128 differ in the top bit.
void flip_sign_bits(const void* from, void* to, int64_t n) {
  const uint8_t* f = static_cast<const uint8_t*>(from);
  uint8_t* t = static_cast<uint8_t*>(to);
  for (int64_t i = 0; i < n; ++i) t[i] = f[i] ^ 0x80;
}

void widen_u8(const void* from, void* to, int64_t n) {
  const uint8_t* f = static_cast<const uint8_t*>(from);
  int16_t* t = static_cast<int16_t*>(to);
  for (int64_t i = 0; i < n; ++i) t[i] = static_cast<int16_t>(f[i] - 128);
}

template <class T>
int64_t quantize(const void* a, int64_t lda, int64_t begin, int64_t end, int64_t k, uint8_t* q, int64_t q_stride, float* scale) {
  int64_t bad = -1;
  const int64_t whole = k / kLanes * kLanes, rest = k - whole;
  for (int64_t m = begin; m < end; ++m) {
    const T* row = static_cast<const T*>(a) + m * lda;
    uint8_t* out = q + m * q_stride;
    T staged[kLanes] = {};
    std::memcpy(staged, row + whole, static_cast<size_t>(rest) * sizeof(T));
    // Magnitudes compare as integers do, and a NaN compares above infinity.
    const VecI magnitude = splat_int(0x7fffffff);
    VecI top = and_int(bits(load(staged)), magnitude);
    for (int64_t i = 0; i < whole; i += kLanes) top = max_int(top, and_int(bits(load(row + i)), magnitude));
    const int32_t top_bits = reduce_max_int(top);
    if (top_bits >= 0x7f800000 && bad < 0) bad = m;
    float absmax;
    std::memcpy(&absmax, &top_bits, sizeof absmax);
    scale[m] = absmax / 127.f;
    // 127 / absmax must be finite; a row this small is a row of zeros.
    const Vec inverse = splat(absmax > 1e-36f ? 127.f / absmax : 0.f);
    const VecI minus_zero_point = splat_int(-128);
    auto quantized = [&](const T* p) { return sub_int(to_int(mul(load(p), inverse)), minus_zero_point); };
    for (int64_t i = 0; i < whole; i += kLanes) store_bytes(out + i, quantized(row + i));
    uint8_t last[kLanes];
    store_bytes(last, quantized(staged));
    std::memcpy(out + whole, last, static_cast<size_t>(rest));
    std::memset(out + k, 128, static_cast<size_t>(q_stride - k));
  }
  return bad;
}

}  // namespace
}  // namespace vivace::cpu::gemm_detail
