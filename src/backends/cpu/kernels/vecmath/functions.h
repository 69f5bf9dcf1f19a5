// Elementary functions on a vector of floats. The polynomials are minimax fits of this project (Lawson iteration in double precision over the
// stated interval). Errors in ulp, against the true value: exp and log 1, tanh and sin 2, erf, cos and sigmoid 3 (tests/kernels/norm_vecmath_test.cc
// holds them to 4); a NaN stays one, infinities and overflow go where libm sends them.
#pragma once

#include "backends/cpu/kernels/activation.h"
#include "backends/cpu/kernels/simd/simd.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

template <class... Rest>
VIVACE_INLINE VF polynomial(VF x, float c0, Rest... rest) {
  if constexpr (sizeof...(rest) == 0) {
    return Set(c0);
  } else {
    return MulAdd(polynomial(x, rest...), x, Set(c0));
  }
}

inline constexpr float kLn2High = 0x1.62e0p-1f, kLn2Low = 0x1.0bfbe8p-15f;  // the high part times any exponent is exact

VIVACE_INLINE VF vexp(VF x) {
  const VF clamped = Min(Set(90.f), Max(Set(-110.f), x));  // beyond, the result is 0 or infinity anyway
  const VF n = Round(clamped * Set(1.44269504f));
  const VF r = MulAdd(n, Set(-kLn2Low), MulAdd(n, Set(-kLn2High), clamped));
  const VF tail = polynomial(r, 0.5f, 0.166665182f, 0.041666206f, 0.00836895313f, 0.00139506022f);  // (e^r - 1 - r) / r^2, |r| <= ln 2 / 2
  return MulByFloorPow2(MulAdd(r * r, tail, r) + Set(1.f), n);
}

VIVACE_INLINE VF vlog(VF x) {
  const Mask subnormal = Lt(x, Set(0x1p-126f));
  const VF scaled = IfThenElse(subnormal, x * Set(0x1p23f), x);
  // Mantissa in [sqrt 1/2, sqrt 2): the offset makes the exponent step at sqrt 1/2.
  const VI shifted = Sub(BitCast(scaled), Set(0x3f3504f3));
  const VI exponent = ShiftRight<23>(shifted);
  const VF f = BitCast(Sub(BitCast(scaled), ShiftLeft<23>(exponent))) - Set(1.f);
  const VF e = ConvertTo(exponent) - IfThenElse(subnormal, Set(23.f), Zero());
  // (log(1 + f) - f + f^2 / 2) / f^3
  const VF p =
      polynomial(f, 0.333333105f, -0.249999866f, 0.200022265f, -0.16669251f, 0.142186597f, -0.123843446f, 0.118729599f, -0.117898233f, 0.0691542253f);
  const VF square = f * f;
  const VF tail = MulAdd(square * f, p, MulAdd(square, Set(-0.5f), e * Set(kLn2Low)));
  const VF finite = MulAdd(e, Set(kLn2High), f + tail);
  const VF zero = Zero(), infinity = Set(__builtin_inff());
  const VF positive = IfThenElse(Lt(x, infinity), finite, x);  // infinity and NaN stay
  const VF edge = IfThenElse(Lt(x, zero), Set(__builtin_nanf("")), Neg(infinity));
  return IfThenElse(Lt(zero, x), positive, IfThenElse(IsNaN(x), x, edge));
}

VIVACE_INLINE VF vsigmoid(VF x) { return Set(1.f) / (Set(1.f) + vexp(Neg(x))); }

VIVACE_INLINE VF vtanh(VF x) {
  const VF a = Abs(x), z = x * x;
  const VF small = MulAdd(z * x, polynomial(z, -0.333333313f, 0.133332103f, -0.0539472029f, 0.0217029676f, -0.00818267744f, 0.00214753952f), x);
  const VF large = Set(1.f) - Set(2.f) / (vexp(a + a) + Set(1.f));
  return IfThenElse(Lt(a, Set(0.625f)), small, CopySign(large, x));
}

VIVACE_INLINE VF verf(VF x) {
  const VF a = Abs(x), z = x * x;
  const VF small = x * polynomial(z, 1.12837923f, -0.376126379f, 0.112837829f, -0.0268654451f, 0.00522107491f, -0.000848471129f, 0.000112705449f,
                                  -9.68013865e-06f);
  const VF b = Min(Set(3.95f), a);  // erf is 1 to the last bit from 3.92 on
  const VF minus_log_erfc =
      polynomial(b, -0.000188037433f, 1.12957847f, 0.633219898f, 0.108418554f, -0.0252082422f, 0.00420455681f, -0.000441335404f, 2.1686772e-05f);
  const VF large = Set(1.f) - vexp(Neg(minus_log_erfc));
  return IfThenElse(Lt(a, Set(1.f)), small, CopySign(large, x));
}

// cosine: cos x, else sin x.
template <bool cosine>
VIVACE_INLINE VF sine_or_cosine(VF x) {
  constexpr float kLargest = 6000.f;  // n * (11-bit parts of pi / 2) stays exact below; libm does the rest
  const VF n = Round(x * Set(0.636619772f));
  VF r = MulAdd(n, Set(-0x1.92p+0f), x);
  r = MulAdd(n, Set(-0x1.fb4p-12f), r);
  r = MulAdd(n, Set(-0x1.444p-24f), r);
  r = MulAdd(n, Set(-0x1.68c234p-39f), r);
  const VF z = r * r;
  const VF sine = MulAdd(z * r, polynomial(z, -0.166666672f, 0.00833332911f, -0.000198392561f, 2.71756448e-06f), r);
  const VF cosine_part = polynomial(z, 0.0416666679f, -0.00138888834f, 2.47994358e-05f, -2.72033049e-07f);
  const VF cosine_value = MulAdd(z * z, cosine_part, MulAdd(z, Set(-0.5f), Set(1.f)));
  const VI quadrant = Add(NearestInt(n), Set(cosine ? 1 : 0));
  const VF value = IfThenElse(TestBit(quadrant, Set(1)), cosine_value, sine);
  VF result = BitCast(Xor(BitCast(value), ShiftLeft<30>(And(quadrant, Set(2)))));
  if (!AllFalse(Lt(Set(kLargest), Abs(x)))) {
    alignas(64) float in[kLanes], out[kLanes];
    StoreU(x, in);
    StoreU(result, out);
    for (int i = 0; i < kLanes; ++i)
      if (__builtin_fabsf(in[i]) > kLargest) out[i] = cosine ? __builtin_cosf(in[i]) : __builtin_sinf(in[i]);
    result = LoadU(out);
  }
  return result;
}

VIVACE_INLINE VF vsin(VF x) { return sine_or_cosine<false>(x); }
VIVACE_INLINE VF vcos(VF x) { return sine_or_cosine<true>(x); }

// x * sigmoid(y), to 6 units in the last place of x: the exponential is 2^(-y log2 e) with the product rounded once, whose relative error grows
// with |y| as fast as its weight in 1 + e^-y falls. The argument is clamped to where the power is normal, so that it stays exact to scale by it;
// beyond, the factor is 2^-126 or 1 instead of ever closer to 0 or 1.
VIVACE_INLINE VF times_sigmoid(VF x, VF y) {
  const VF exponent = Min(Set(126.f), Max(Set(-126.f), y * Set(-1.44269504f)));
  const VF n = Round(exponent), r = exponent - n;
  const VF power = polynomial(r, 1.00000012f, 0.693146944f, 0.240221173f, 0.0555071458f, 0.00967565551f, 0.00132763572f);  // 2^r, |r| <= 1/2
  return x / (Set(1.f) + MulByFloorPow2(power, n));
}

VIVACE_INLINE VF vsilu(VF x) { return times_sigmoid(x, x); }
VIVACE_INLINE VF vquick_gelu(VF x) { return times_sigmoid(x, x * Set(1.702f)); }
VIVACE_INLINE VF vgelu_tanh(VF x) {
  const VF u = x * MulAdd(x * x, Set(0.044715f), Set(1.f));
  return times_sigmoid(x, u * Set(1.59576912f));  // (1 + tanh(y)) / 2 = sigmoid(2 y)
}

// erf as one rational function, to 6e-7 absolute: what 1 + erf needs, at less than half of the work of verf. The numerator is scaled up by
// 2.5e-7, so that beyond the clamp the maximum makes it -1 exactly and gelu 0.
VIVACE_INLINE VF vgelu(VF x) {
  const VF t = Min(Set(3.75f), Max(Set(-3.75f), x * Set(0.707106781f))), z = t * t;
  const VF p = polynomial(z, 1.12837923f, 0.190816805f, 0.0494087636f, 0.00336056459f, 0.000137621202f, -2.03754553e-06f, 2.18901288e-08f);
  const VF q = polynomial(z, 1.f, 0.502437472f, 0.111277469f, 0.0136168785f, 0.000886202324f);
  const VF e = Max(Set(-1.f), t * p / q), half = x * Set(0.5f);
  return MulAdd(half, e, half);
}
// max(0, x), a NaN kept.
VIVACE_INLINE VF vrelu(VF x) { return Max(Zero(), x); }

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
