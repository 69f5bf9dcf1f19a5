// What the row kernels share: a row as a float tile in L1 or L2, and the row's end, where it is stored or quantised.
#pragma once

#include "backends/cpu/kernels/quantize.h"
#include "backends/cpu/kernels/vecmath_functions.h"
#include "backends/cpu/kernels/vecmath_span.h"

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

// The largest magnitude seen so far, and whether any value was not finite.
struct Absmax {
  VF largest = splat(0.f);
  VF poison = splat(0.f);  // 0 * value: NaN from a NaN or an infinity on

  void see(const float* v, int64_t n) {
    VF m = largest, p = poison;
    each_vector(n, [&](int64_t i, auto lanes) {
      const VF x = Float32::load(v + i, lanes);
      m = max_or_b(m, magnitude(x));
      p = p + x * splat(0.f);
    });
    largest = m;
    poison = p;
  }
};

struct RowScale {
  float scale, inverse;
  bool bad;
};

inline RowScale row_scale(const Absmax& seen) {
  if (any(is_nan(seen.poison))) return {__builtin_nanf(""), 0.f, true};
  const float absmax = reduce_max(seen.largest), inverse = 127.f / absmax;
  // A row so small that the inverse overflows counts as zero.
  return absmax > 0.f && inverse <= __FLT_MAX__ ? RowScale{absmax / 127.f, inverse, false} : RowScale{0.f, 0.f, false};
}

inline void quantize_span(const float* v, const RowScale& scale, void* q, DType dtype, int64_t n) {
  const VI flip = splat_int(dtype == DType::uint8 ? 0x80 : 0);  // + 128 on a byte is a flipped top bit
  const auto store = [&](VF x, int8_t* p) {
    const VI rounded = to_int(round_even(x * splat(scale.inverse)));
    // Sign-extended from the byte again, for the saturating store.
    const VI wrapped = shift_right_signed<24>(shift_left<24>(xor_int(rounded, flip)));
    store_int8(wrapped, p);
  };
  auto* out = static_cast<int8_t*>(q);
  if (scale.bad) {
    memset(out, dtype == DType::uint8 ? 128 : 0, static_cast<size_t>(n));
    return;
  }
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(load_f32(v + i), out + i);
  if (i < n) {
    int8_t rest[kLanes];
    store(load_f32(v + i, n - i), rest);
    for (int64_t k = 0; i + k < n; ++k) out[i + k] = rest[k];
  }
}

// Quantises row r, whose values piece(c, n) computes as n floats from channel c on (any number of times), n <= kRowBuffer. Returns whether the
// row was bad.
template <class Piece>
VIVACE_INLINE bool quantize_row(const RowOutput& y, int64_t r, int64_t channels, const Piece& piece) {
  Absmax seen;
  const float* values = nullptr;
  for (int64_t c = 0; c < channels; c += kRowBuffer) {
    const int64_t n = min64(kRowBuffer, channels - c);
    values = piece(c, n);
    seen.see(values, n);
  }
  const RowScale scale = row_scale(seen);
  y.scale[r] = scale.scale;
  for (int64_t c = 0; c < channels; c += kRowBuffer) {
    const int64_t n = min64(kRowBuffer, channels - c);
    if (channels > kRowBuffer) values = piece(c, n);
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
