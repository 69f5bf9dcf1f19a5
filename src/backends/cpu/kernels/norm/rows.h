// What the row kernels share: a row as a float tile in L1 or L2, and the row's end, where it is stored or quantised.
#pragma once

#include "backends/cpu/kernels/norm/hadamard.h"
#include "backends/cpu/kernels/norm/quantize.h"
#include "backends/cpu/kernels/vecmath/functions.h"
#include "backends/cpu/kernels/vecmath/span.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

// Floats of a row held on the stack (64 KiB): every feed-forward width of the models at hand. Longer rows go through in pieces, and what a
// later pass needs again is computed again.
inline constexpr int64_t kRowBuffer = 16384;

VIVACE_INLINE int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

VIVACE_INLINE bool is_quantized(const RowOutput& y) { return y.dtype == DType::int8 || y.dtype == DType::uint8; }
VIVACE_INLINE void* row_of(const RowOutput& y, int64_t r, int64_t c = 0) {
  return static_cast<char*>(y.data) + (r * y.stride + c) * (is_quantized(y) ? 1 : width(y.dtype));
}
VIVACE_INLINE const void* row_of(const RowInput& x, int64_t r, int64_t c = 0) { return at(x.data, x.dtype, r * x.stride + c); }

// The largest magnitude of some floats, by its bits: their order as integers is that of the magnitudes, with infinity and NaN above all others.
inline VI largest_magnitude(VI largest, const float* v, int64_t n) {
  each_vector(n, [&](int64_t i, auto lanes) { largest = Max(largest, BitCast(Abs(Float32::load(v + i, lanes)))); });
  return largest;
}

struct RowScale {
  float scale, inverse;
  bool bad;
};

inline RowScale row_scale(VI largest) {
  constexpr int32_t kInfinity = 0x7f800000;
  const int32_t top = ReduceMax(largest);
  if (top >= kInfinity) return {__builtin_nanf(""), 0.f, true};
  float absmax;
  memcpy(&absmax, &top, sizeof absmax);
  const float inverse = 127.f / absmax;
  // A row so small that the inverse overflows counts as zero.
  return inverse <= __FLT_MAX__ ? RowScale{absmax / 127.f, inverse, false} : RowScale{0.f, 0.f, false};
}

inline void quantize_span(const float* v, const RowScale& scale, void* q, DType dtype, int64_t n) {
  auto* out = static_cast<int8_t*>(q);
  const auto flip = static_cast<uint8_t>(dtype == DType::uint8 ? 0x80 : 0);  // + 128 on a byte is a flipped top bit
  if (scale.bad) {
    memset(out, flip, static_cast<size_t>(n));
    return;
  }
  const VF inverse = Set(scale.inverse);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_bytes(NearestInt(LoadU(v + i) * inverse), flip, out + i);
  if (i < n) {
    int8_t rest[kLanes];
    store_bytes(NearestInt(LoadN(v + i, n - i) * inverse), flip, rest);
    for (int64_t k = 0; i + k < n; ++k) out[i + k] = rest[k];
  }
}

// Quantises row r, whose values piece(c, n) computes as n floats from channel c on (any number of times), n <= kRowBuffer. Returns whether the
// row was bad.
template <class Piece>
VIVACE_INLINE bool quantize_row(const RowOutput& y, int64_t r, int64_t channels, const Piece& piece) {
  static_assert(kRowBuffer % kLargestBlock == 0);
  alignas(64) float turned[kRowBuffer];
  const auto values_of = [&](int64_t c, int64_t n) {
    const float* v = piece(c, n);
    if (y.hadamard == 0) return v;
    turn_blocks(v, n, y.hadamard, turned);
    return static_cast<const float*>(turned);
  };
  VI largest = Set(0);
  const float* values = nullptr;
  for (int64_t c = 0; c < channels; c += kRowBuffer) {
    const int64_t n = min64(kRowBuffer, channels - c);
    values = values_of(c, n);
    largest = largest_magnitude(largest, values, n);
  }
  const RowScale scale = row_scale(largest);
  y.scale[r] = scale.scale;
  for (int64_t c = 0; c < channels; c += kRowBuffer) {
    const int64_t n = min64(kRowBuffer, channels - c);
    if (channels > kRowBuffer) values = values_of(c, n);
    quantize_span(values, scale, row_of(y, r, c), y.dtype, n);
  }
  return scale.bad;
}

// The same for any output.
template <class Piece>
VIVACE_INLINE bool finish_row(const RowOutput& y, int64_t r, int64_t channels, const Piece& piece) {
  if (is_quantized(y)) return quantize_row(y, r, channels, piece);
  for (int64_t c = 0; c < channels; c += kRowBuffer) {
    const int64_t n = min64(kRowBuffer, channels - c);
    store_span(piece(c, n), row_of(y, r, c), y.dtype, n);
  }
  return false;
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
