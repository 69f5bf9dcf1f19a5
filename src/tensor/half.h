// Half-width floats: storage types with conversions that round to nearest even, as PyTorch rounds.
#pragma once

#include <bit>
#include <cstdint>

namespace vivace {

struct bf16 {
  uint16_t bits;
  bf16() = default;
  explicit bf16(float f) {
    const uint32_t u = std::bit_cast<uint32_t>(f);
    // A NaN must stay one: rounding could carry its payload into infinity.
    bits = (u & 0x7fffffffu) > 0x7f800000u ? static_cast<uint16_t>((u >> 16) | 0x40) : static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
  }
  operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

struct f16 {
  uint16_t bits;
  f16() = default;
  explicit f16(float f) : bits(from_float(f)) {}
  operator float() const { return to_float(bits); }

  static uint16_t from_float(float f);
  static float to_float(uint16_t h);
};

inline float f16::to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  uint32_t exponent = (h >> 10) & 0x1f, mantissa = h & 0x3ff;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // subnormal or zero, exact in float
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

inline uint16_t f16::from_float(float f) {
  const uint32_t u = std::bit_cast<uint32_t>(f), magnitude = u & 0x7fffffffu;
  const auto sign = static_cast<uint16_t>((u >> 16) & 0x8000);
  if (magnitude > 0x7f800000u) return sign | 0x7e00;
  if (magnitude >= 0x477ff000u) return sign | 0x7c00;  // rounds to 65536 or beyond: infinity
  if (magnitude < 0x38800000u) {                       // below 2^-14: let the float adder round to a multiple of 2^-24
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - 0x3f000000u);
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1);
  return sign | static_cast<uint16_t>((rounded - 0x38000000u) >> 13);
}

// 1 sign, 4 exponent (bias 7), 3 mantissa bits; no infinity, 0x7f is NaN; saturates at 448 (torch.float8_e4m3fn clamps too when saturating).
struct f8e4m3 {
  uint8_t bits;
  f8e4m3() = default;
  explicit f8e4m3(float f);
  operator float() const;
};

inline f8e4m3::operator float() const {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x80) << 24, exponent = (bits >> 3) & 15, mantissa = bits & 7;
  if ((bits & 0x7f) == 0x7f) return std::bit_cast<float>(0x7fc00000u);
  if (exponent == 0) return (sign ? -1.f : 1.f) * static_cast<float>(mantissa) * 0x1p-9f;
  return std::bit_cast<float>(sign | ((exponent + 120) << 23) | (mantissa << 20));
}

inline f8e4m3::f8e4m3(float f) {
  const uint32_t u = std::bit_cast<uint32_t>(f), magnitude = u & 0x7fffffffu;
  const auto sign = static_cast<uint8_t>((u >> 24) & 0x80);
  if (magnitude > 0x7f800000u) {
    bits = sign | 0x7f;
  } else if (magnitude >= 0x43e80000u) {  // 464 and above round past 448
    bits = sign | 0x7e;
  } else if (magnitude < 0x3c800000u) {  // below 2^-6: a multiple of 2^-9
    const float shifted = std::bit_cast<float>(magnitude) + 16384.f;
    bits = sign | static_cast<uint8_t>(std::bit_cast<uint32_t>(shifted) - 0x46800000u);
  } else {
    const uint32_t rounded = magnitude + 0x7ffffu + ((magnitude >> 20) & 1);
    bits = sign | static_cast<uint8_t>((rounded - 0x3c000000u) >> 20);
  }
}

}  // namespace vivace
