// Powers of two, as attention wants them. Only for level.cc (see kernels.h).
#pragma once

#include "backends/cpu/kernels/simd/simd.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

// 2^f on [0, 1), minimax in relative error: 7.5e-5 (below half an ulp of bfloat16) and 2e-9 (float32, exact at 0).
constexpr float kExp2Bf16[] = {0.9999252f, 0.69583356f, 0.22606716f, 0.07802452f};
constexpr float kExp2F32[] = {1.f, 0.69314706f, 0.24022931f, 0.055485282f, 0.0096754516f, 0.0012467847f, 0.00021612915f};

#if defined(__AVX512F__)

// vreduceps leaves t - floor(t), 0 for an infinity, and vscalefps floors its exponent: no clamp is needed for any t.
inline VF exp2_split(VF t, VF* fraction) {
  *fraction = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  return t;
}
inline VF exp2_scale(VF p, VF t) { return MulByFloorPow2(p, t); }
// 2^t within 1.2e-4: a line in the fraction's last part, the line looked up by its first four bits. On Zen 4 the matrix instruction leaves the
// units for permutations, additions and scaling idle, so that this costs one multiplication where a polynomial costs three.
inline VF exp2_line(VF t) {
  alignas(64) static const float base[16] = {0.99988270f, 1.04415131f, 1.09037983f, 1.13865507f, 1.18906760f, 1.24171209f, 1.29668748f, 1.35409665f,
                                             1.41404772f, 1.47665298f, 1.54202998f, 1.61030138f, 1.68159556f, 1.75604618f, 1.83379292f, 1.91498196f};
  alignas(64) static const float slope[16] = {0.70829743f, 0.73965645f, 0.77240384f, 0.80660105f, 0.84231234f, 0.87960470f, 0.91854811f, 0.95921570f,
                                              1.00168383f, 1.04603219f, 1.09234393f, 1.14070618f, 1.19120955f, 1.24394894f, 1.29902315f, 1.35653591f};
  // Adding 1.5 * 2^19 leaves floor(16 t) in the lowest bits, of which the permutation reads four.
  const VI index = BitCast(_mm512_add_round_ps(t, Set(0x1.8p19f), _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC));
  const VF rest = _mm512_reduce_ps(t, (4 << 4) | _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  const VF p = MulAdd(rest, _mm512_permutexvar_ps(index, _mm512_load_ps(slope)), _mm512_permutexvar_ps(index, _mm512_load_ps(base)));
  return MulByFloorPow2(p, t);
}

#else

// The exponent is built as an integer, so t is held to [-200, 127.999]; a NaN stays one (Min and Max return their second operand then).
inline VF exp2_split(VF t, VF* fraction) {
  t = Min(Set(127.999f), Max(Set(-200.f), t));
#if defined(__AVX2__)
  const VF floor = _mm256_floor_ps(t);
  *fraction = t - floor;
  return floor;
#else
  const VF nearest = ConvertTo(NearestInt(t));
  const VF floor = nearest - IfThenElseZero(Lt(t, nearest), Set(1.f));
  *fraction = t - floor;
  return BitCast(Or(BitCast(floor), BitCast(IsNaN(t))));  // the conversion made a number of a NaN; all bits set are one
#endif
}
inline VF exp2_scale(VF p, VF floor) {
  const VF scaled = BitCast(Add(BitCast(p), ShiftLeft<23>(NearestInt(floor))));
  return IfThenZeroElse(Lt(floor, Set(-126.f)), scaled);
}

#endif

// 2^t for what is rounded to an integer below 2^16, within 1.2e-4; `t` below 16.
inline VF exp2_to_integer(VF t) {
#if defined(__AVX512F__)
  return exp2_line(t);
#else
  t = Max(t, Set(-30.f));
  const VI whole = NearestInt(t);
  const VF f = t - ConvertTo(whole);  // on [-0.5, 0.5], minimax in relative error: 7.5e-5
  const VF p = MulAdd(MulAdd(MulAdd(Set(0.05517167f), f, Set(0.24261112f)), f, Set(0.69326099f)), f, Set(0.99992807f));
  return BitCast(Add(BitCast(p), ShiftLeft<23>(whole)));
#endif
}

// 2^t. `Precise`: within 2 ulp of float32; otherwise within 1e-4, for weights that are rounded to bfloat16 anyway.
// -inf gives 0; results below 2^-126 may be flushed to 0.
template <bool Precise>
inline VF exp2(VF t) {
  VF f;
  const VF n = exp2_split(t, &f);
  if constexpr (Precise) {
    VF p = Set(kExp2F32[6]);
#pragma GCC unroll 8
    for (int i = 5; i >= 0; --i) p = MulAdd(p, f, Set(kExp2F32[i]));
    return exp2_scale(p, n);
  } else {
    VF p = Set(kExp2Bf16[3]);
#pragma GCC unroll 8
    for (int i = 2; i >= 0; --i) p = MulAdd(p, f, Set(kExp2Bf16[i]));
    return exp2_scale(p, n);
  }
}

// The same where products of matrices run at the same time.
template <bool Precise>
inline VF exp2_between_products(VF t) {
#if defined(__AVX512F__)
  if constexpr (!Precise) return exp2_line(t);
#endif
  return exp2<Precise>(t);
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
