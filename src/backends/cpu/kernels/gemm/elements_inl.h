// Elements of every type that packing and epilogues read or write, as vectors of floats. Internal linkage, compiled per level.
#pragma once

#include "backends/cpu/kernels/gemm/level.h"
#include "backends/cpu/kernels/simd/simd.h"
#include "tensor/half.h"  // for the types alone: its functions would be compiled for this level and could be linked into any

namespace vivace::cpu::VIVACE_SIMD {
namespace {

using namespace gemm_detail;

struct bf16_lo {
  uint16_t bits;
};

inline VF load(const float* p) { return LoadU(p); }
inline VF load(const bf16* p) { return load_bf16(reinterpret_cast<const uint16_t*>(p)); }
inline VF load(const f16* p) { return load_f16(reinterpret_cast<const uint16_t*>(p)); }
inline VF load(const int8_t* p) { return ConvertTo(load_i8(p)); }
inline VF load(const f8e4m3* p) {
  const VI x = load_u8(reinterpret_cast<const uint8_t*>(p)), magnitude = And(x, Set(0x7f)), sign = ShiftLeft<24>(And(x, Set(0x80)));
  VI value = Add(ShiftLeft<20>(magnitude), Set(120 << 23));
  // Exponent 0: a multiple of 2^-9.
  value = IfThenElse(Lt(magnitude, Set(8)), BitCast(ConvertTo(magnitude) * Set(0x1p-9f)), value);
  value = IfThenElse(Eq(magnitude, Set(0x7f)), Set(0x7fc00000), value);
  return BitCast(Or(value, sign));
}

inline void store(VF v, float* p) { StoreU(v, p); }
inline void store(VF v, bf16* p) { store_bf16_flushed(v, reinterpret_cast<uint16_t*>(p)); }
inline void store(VF v, f16* p) { store_f16(v, reinterpret_cast<uint16_t*>(p)); }
#ifdef __AVX512BF16__
inline void store(VF v, bf16_lo* p) {
  const VF high = BitCast(ShiftLeft<16>(_mm512_cvtepu16_epi32(round_bf16_flushed(v))));
  // An infinite high part has no rest: infinity - infinity would turn the product into NaN.
  const Mask finite = _mm512_cmp_ps_mask(Abs(high), Set(3.4e38f), _CMP_LE_OQ);
  store_bf16_flushed(IfThenElseZero(finite, v - high), reinterpret_cast<uint16_t*>(p));
}
#endif

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
