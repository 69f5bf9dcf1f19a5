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

VIVACE_INLINE bool is_quantized(const RowOutput& y) { return y.dtype == DType::uint8 || y.dtype == DType::float8_e4m3; }
VIVACE_INLINE void* row_of(const RowOutput& y, int64_t r, int64_t c = 0) {
  return static_cast<char*>(y.data) + (r * y.stride + c) * (is_quantized(y) ? 1 : width(y.dtype));
}
VIVACE_INLINE const void* row_of(const RowInput& x, int64_t r, int64_t c = 0) { return at(x.data, x.dtype, r * x.stride + c); }

// How far some floats reach above 0 and below it, by the bits: as integers those of positive numbers are in their order, below those of infinity and
// NaN, and those of negative ones are below 0.
struct RowRange {
  VI above = Set(0), below = Set(0);

  VIVACE_INLINE void add(const float* v, int64_t n) {
    each_vector(n, [&](int64_t i, auto lanes) {
      const VF x = Float32::load(v + i, lanes);
      above = Max(above, BitCast(x));
      below = Max(below, BitCast(Neg(x)));
    });
  }
};

struct RowRounding {
  RowScale scale;
  float inverse;
  bool bad;
};

inline RowRounding row_rounding(const RowRange& range, DType dtype) {
  constexpr int32_t kInfinity = 0x7f800000;
  const int32_t bits[2] = {ReduceMax(range.above), ReduceMax(range.below)};
  if (bits[0] >= kInfinity || bits[1] >= kInfinity) return {{__builtin_nanf(""), 0}, 0.f, true};
  float reach[2];
  memcpy(reach, bits, sizeof reach);
  if (dtype == DType::float8_e4m3) {
    const float scale = (reach[0] > reach[1] ? reach[0] : reach[1]) / 448.f;
    return {{scale, 0}, scale > 1e-38f ? 1.f / scale : 0.f, false};
  }
  // Either end is rounded to a step of its own, at most half a step outwards: a tenth less than 255 keeps both within a byte.
  constexpr float kSteps = 254.9f;
  const float scale = reach[0] / kSteps + reach[1] / kSteps, inverse = 1.f / scale;
  // A row so small that the inverse overflows counts as zero.
  if (!(inverse <= __FLT_MAX__)) return {{0.f, 0}, 0.f, false};
  const VI zero = NearestInt(Set(reach[1]) * Set(inverse));  // as the values are rounded
  alignas(64) int32_t lanes[kLanes];
  memcpy(lanes, &zero, sizeof zero);
  return {{scale, lanes[0]}, inverse, false};
}

// The bits of f8e4m3 (tensor/half.h), as signed bytes.
VIVACE_INLINE VI to_float8(VF x) {
  const VI sign = And(ShiftRight<24>(BitCast(x)), Set(-128)), magnitude = BitCast(Min(Abs(x), Set(448.f)));
  const VI rounded = Add(Add(magnitude, Set(0x7ffff)), And(ShiftRight<20>(magnitude), Set(1)));
  const VI normal = ShiftRight<20>(Sub(rounded, Set(0x3c000000)));
  const VI tiny = Sub(BitCast(BitCast(magnitude) + Set(16384.f)), Set(0x46800000));  // below 2^-6: a multiple of 2^-9
  return Or(sign, IfThenElse(Lt(magnitude, Set(0x3c800000)), tiny, normal));
}

template <class Bytes>
VIVACE_INLINE void bytes_of_span(const float* v, uint8_t flip, int8_t* out, int64_t n, const Bytes& bytes) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_bytes(bytes(LoadU(v + i)), flip, out + i);
  if (i < n) {
    int8_t rest[kLanes];
    store_bytes(bytes(LoadN(v + i, n - i)), flip, rest);
    for (int64_t k = 0; i + k < n; ++k) out[i + k] = rest[k];
  }
}

inline void quantize_span(const float* v, const RowRounding& rounding, DType dtype, void* q, int64_t n) {
  auto* out = static_cast<int8_t*>(q);
  if (rounding.bad) {
    memset(out, 0, static_cast<size_t>(n));
    return;
  }
  const VF inverse = Set(rounding.inverse);
  if (dtype == DType::float8_e4m3) return bytes_of_span(v, 0, out, n, [&](VF x) { return to_float8(x * inverse); });
  constexpr uint8_t kFlip = 0x80;  // + 128 on a byte is a flipped top bit
  const VI zero = Set(rounding.scale.zero - 128);
  bytes_of_span(v, kFlip, out, n, [&](VF x) { return Add(NearestInt(x * inverse), zero); });
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
  RowRange range;
  const float* values = nullptr;
  for (int64_t c = 0; c < channels; c += kRowBuffer) {
    const int64_t n = min64(kRowBuffer, channels - c);
    values = values_of(c, n);
    range.add(values, n);
  }
  const RowRounding rounding = row_rounding(range, y.dtype);
  y.scale[r] = rounding.scale;
  for (int64_t c = 0; c < channels; c += kRowBuffer) {
    const int64_t n = min64(kRowBuffer, channels - c);
    if (channels > kRowBuffer) values = values_of(c, n);
    quantize_span(values, rounding, y.dtype, row_of(y, r, c), n);
  }
  return rounding.bad;
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
