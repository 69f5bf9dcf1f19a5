// Vectors of any activation dtype, and the activations by name. Included by level.cc alone.
#pragma once

#include "backends/cpu/kernels/activation.h"
#include "backends/cpu/kernels/vecmath/functions.h"
#include "vivace/dtype.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

inline constexpr int kPanel = 2 * kLanes;  // output channels of a register tile

VIVACE_INLINE VF load_half(const uint16_t* p, DType dtype) { return dtype == DType::bfloat16 ? load_bf16(p) : load_f16(p); }
VIVACE_INLINE void store_half(VF v, uint16_t* p, DType dtype) { dtype == DType::bfloat16 ? store_bf16_flushed(v, p) : store_f16(v, p); }

// Elements i.. of an array whose next `n` elements are valid: lanes from n on are 0 and their memory is not touched.
VIVACE_INLINE VF load_row(const void* array, DType dtype, int64_t i, int64_t n) {
  if (n <= 0) return Zero();
  if (dtype == DType::float32) {
    const float* p = static_cast<const float*>(array) + i;
    return n >= kLanes ? LoadU(p) : LoadN(p, n);
  }
  const uint16_t* p = static_cast<const uint16_t*>(array) + i;
  if (n >= kLanes) return load_half(p, dtype);
  alignas(64) uint16_t lanes[kLanes] = {};
  std::memcpy(lanes, p, static_cast<size_t>(n) * sizeof(uint16_t));
  return load_half(lanes, dtype);
}

VIVACE_INLINE void store_row(VF v, void* array, DType dtype, int64_t i, int64_t n) {
  if (n <= 0) return;
  if (dtype == DType::float32) {
    float* p = static_cast<float*>(array) + i;
    return n >= kLanes ? StoreU(v, p) : StoreN(v, p, n);
  }
  uint16_t* p = static_cast<uint16_t*>(array) + i;
  if (n >= kLanes) return store_half(v, p, dtype);
  alignas(64) uint16_t lanes[kLanes];
  store_half(v, lanes, dtype);
  std::memcpy(p, lanes, static_cast<size_t>(n) * sizeof(uint16_t));
}

VIVACE_INLINE VF activate(VF x, Act act) {
  switch (act) {
    case Act::none:
      return x;
    case Act::silu:
      return vsilu(x);
    case Act::gelu:
      return vgelu(x);
    case Act::gelu_tanh:
      return vgelu_tanh(x);
    case Act::quick_gelu:
      return vquick_gelu(x);
    case Act::relu:
      return vrelu(x);
  }
  return x;
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
