// What the blocks of block_format.h hold, as loops that a compiler can turn into vectors. Everything here has internal linkage, since sources for
// several instruction sets include it. Every product is exact in float32 but q6_k's and q3_k's last, which nothing is added to: neither the order of
// the arithmetic nor its contraction leaves a mark, so all of them give equal bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/block_format.h"

namespace vivace {
namespace {

inline float float_of_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// f16::to_float() without branches.
inline float float_of_half(uint16_t half) {
  const uint32_t bits = uint32_t{half} << 16, sign = bits & 0x80000000u, rest = bits << 1;
  const float normal = float_of_bits((rest >> 4) + 0x70000000u) * 0x1p-112f, subnormal = float_of_bits((rest >> 17) | 0x3f000000u) - 0.5f;
  const float magnitude = rest < 0x08000000u ? subnormal : normal;
  uint32_t result;
  std::memcpy(&result, &magnitude, sizeof result);
  return float_of_bits(sign | result);
}

// Reads a block's fields in their order.
class BlockFields {
 public:
  explicit BlockFields(const uint8_t* at) : at_(at) {}
  float half() {
    uint16_t bits = 0;
    std::memcpy(&bits, bytes(2), sizeof bits);
    return float_of_half(bits);
  }
  uint32_t word() {
    uint32_t bits = 0;
    std::memcpy(&bits, bytes(4), sizeof bits);
    return bits;
  }
  const uint8_t* bytes(size_t count) {
    at_ += count;
    return at_ - count;
  }

 private:
  const uint8_t* at_;
};

// The scale and the minimum of 32 values each, 6 bits a number, in q4_k and q5_k.
struct ScaleAndMin {
  int scale, min;
};
inline ScaleAndMin scale_and_min(const uint8_t* s, int group) {
  if (group < 4) return {s[group] & 63, s[group + 4] & 63};
  return {(s[group + 4] & 15) | ((s[group - 4] >> 6) << 4), (s[group + 4] >> 4) | ((s[group] >> 6) << 4)};
}

// 32 values of 4 bits and, with a high one, a fifth: d * (q - offset), or d * q + m.
template <bool kMin, bool kHigh>
inline void widen_32(BlockFields f, int offset, float* __restrict y) {
  const float d = f.half(), m = kMin ? f.half() : 0;
  const uint32_t high = kHigh ? f.word() : 0;
  const uint8_t* __restrict low = f.bytes(16);
  for (int part = 0; part < 2; ++part)
    for (int i = 0; i < 16; ++i) {
      const int q = ((low[i] >> (4 * part)) & 15) | static_cast<int>((high >> (16 * part + i)) & 1) << 4;
      const float product = d * static_cast<float>(q - offset);
      y[16 * part + i] = kMin ? product + m : product;
    }
}

inline void widen_q8_0(BlockFields f, float* __restrict y) {
  const float d = f.half();
  const uint8_t* __restrict q = f.bytes(32);
  for (int i = 0; i < 32; ++i) y[i] = d * static_cast<float>(static_cast<int8_t>(q[i]));
}

inline void widen_q2_k(BlockFields f, float* __restrict y) {
  const uint8_t *scales = f.bytes(16), *q = f.bytes(64);
  const float d = f.half(), dmin = f.half();
  for (int group = 0; group < 16; ++group) {
    const int shift = group % 8 / 2 * 2;
    const uint8_t* __restrict from = q + 32 * (group / 8) + 16 * (group % 2);
    const float scale = d * static_cast<float>(scales[group] & 15), min = dmin * static_cast<float>(scales[group] >> 4);
    for (int i = 0; i < 16; ++i) y[16 * group + i] = scale * static_cast<float>((from[i] >> shift) & 3) - min;
  }
}

inline void widen_q3_k(BlockFields f, float* __restrict y) {
  const uint8_t *high = f.bytes(32), *q = f.bytes(64), *s = f.bytes(12);
  const float d = f.half();
  for (int group = 0; group < 16; ++group) {
    const int shift = group % 8 / 2 * 2, bit = group / 2;
    const uint8_t* __restrict from = q + 32 * (group / 8) + 16 * (group % 2), * __restrict top = high + 16 * (group % 2);
    const int number = (group < 8 ? s[group] & 15 : s[group - 8] >> 4) | ((s[8 + group % 4] >> (2 * (group / 4))) & 3) << 4;
    const float scale = d * static_cast<float>(number - 32);
    for (int i = 0; i < 16; ++i) y[16 * group + i] = scale * static_cast<float>(((from[i] >> shift) & 3) - 4 + ((top[i] >> bit) & 1) * 4);
  }
}

template <bool kHigh>
inline void widen_q4_k(BlockFields f, float* __restrict y) {
  const float d = f.half(), dmin = f.half();
  const uint8_t* s = f.bytes(12);
  const uint8_t* __restrict high = kHigh ? f.bytes(32) : nullptr;
  const uint8_t* q = f.bytes(128);
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMin sm = scale_and_min(s, group);
    const float scale = d * static_cast<float>(sm.scale), min = dmin * static_cast<float>(sm.min);
    const uint8_t* __restrict low = q + 32 * (group / 2);
    const int shift = 4 * (group % 2);
    for (int i = 0; i < 32; ++i) {
      int number = (low[i] >> shift) & 15;
      if (kHigh) number |= ((high[i] >> group) & 1) << 4;
      y[32 * group + i] = scale * static_cast<float>(number) - min;
    }
  }
}

inline void widen_q6_k(BlockFields f, float* __restrict y) {
  const uint8_t *low = f.bytes(128), *high = f.bytes(64), *scales = f.bytes(16);
  const float d = f.half();
  for (int group = 0; group < 16; ++group) {
    const int half = group / 8, quarter = group % 8 / 2, first = 16 * (group % 2);
    const uint8_t* __restrict nibble = low + 64 * half + 32 * (quarter % 2) + first, * __restrict top = high + 32 * half + first;
    const int shift = 4 * (quarter / 2), top_shift = 2 * quarter;
    const float scale = d * static_cast<float>(static_cast<int8_t>(scales[group]));
    for (int i = 0; i < 16; ++i)
      y[16 * group + i] = scale * static_cast<float>((((nibble[i] >> shift) & 15) | ((top[i] >> top_shift) & 3) << 4) - 32);
  }
}

template <class Widen>
inline void each_block(const BlockFormatInfo& format, const uint8_t* blocks, int64_t count, float* y, Widen widen) {
  for (int64_t i = 0; i < count; ++i) widen(BlockFields(blocks + i * format.bytes), y + i * format.values);
}

// Of formats with more than one value a block.
inline void widen_several(const BlockFormatInfo& format, const uint8_t* blocks, int64_t count, float* y) {
  const auto each = [&](auto widen) { each_block(format, blocks, count, y, widen); };
  switch (format.format) {
    case BlockFormat::q4_0:
      return each([](BlockFields f, float* to) { widen_32<false, false>(f, 8, to); });
    case BlockFormat::q4_1:
      return each([](BlockFields f, float* to) { widen_32<true, false>(f, 0, to); });
    case BlockFormat::q5_0:
      return each([](BlockFields f, float* to) { widen_32<false, true>(f, 16, to); });
    case BlockFormat::q5_1:
      return each([](BlockFields f, float* to) { widen_32<true, true>(f, 0, to); });
    case BlockFormat::q8_0:
      return each([](BlockFields f, float* to) { widen_q8_0(f, to); });
    case BlockFormat::q2_k:
      return each([](BlockFields f, float* to) { widen_q2_k(f, to); });
    case BlockFormat::q3_k:
      return each([](BlockFields f, float* to) { widen_q3_k(f, to); });
    case BlockFormat::q4_k:
      return each([](BlockFields f, float* to) { widen_q4_k<false>(f, to); });
    case BlockFormat::q5_k:
      return each([](BlockFields f, float* to) { widen_q4_k<true>(f, to); });
    case BlockFormat::q6_k:
      return each([](BlockFields f, float* to) { widen_q6_k(f, to); });
    case BlockFormat::int8:
    case BlockFormat::float8_e4m3:
    case BlockFormat::float8_e5m2:
      return;
  }
}

}  // namespace
}  // namespace vivace
