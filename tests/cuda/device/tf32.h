// What tensor cores make of a float32.
#pragma once

#include <bit>
#include <cstdint>

namespace vivace::cuda {

// To ten bits of mantissa, ties away from zero.
inline float tf32(double x) { return std::bit_cast<float>((std::bit_cast<uint32_t>(static_cast<float>(x)) + 0x1000) & ~uint32_t{0x1fff}); }

}  // namespace vivace::cuda
