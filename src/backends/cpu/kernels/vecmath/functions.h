// Elementary functions on a vector of floats. The polynomials are minimax fits of this project (Lawson iteration in double precision over the
// stated interval). Errors in ulp, against the true value: exp and log 1, tanh and sin 2, erf, cos and sigmoid 3 (tests/kernels/norm_vecmath_test.cc
// holds them to 4); a NaN stays one, infinities and overflow go where libm sends them.
#pragma once

#include "backends/cpu/kernels/activation.h"
#include "backends/cpu/kernels/vecmath/simd.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

template <class... Rest>
VIVACE_INLINE VF polynomial(VF x, float c0, Rest... rest) {
  if constexpr (sizeof...(rest) == 0) {
    return splat(c0);
  } else {
    return fma(polynomial(x, rest...), x, splat(c0));
  }
}

VIVACE_INLINE VF magnitude(VF x) { return from_bits(and_int(bits(x), splat_int(0x7fffffff))); }
VIVACE_INLINE VF negate(VF x) { return from_bits(xor_int(bits(x), splat_int(INT32_MIN))); }
// The size of a with the sign of b; a >= 0.
VIVACE_INLINE VF with_sign_of(VF a, VF b) { return from_bits(or_int(bits(a), and_int(bits(b), splat_int(INT32_MIN)))); }

inline constexpr float kLn2High = 0x1.62e0p-1f, kLn2Low = 0x1.0bfbe8p-15f;  // the high part times any exponent is exact

VIVACE_INLINE VF vexp(VF x) {
  const VF clamped = min_or_b(splat(90.f), max_or_b(splat(-110.f), x));  // beyond, the result is 0 or infinity anyway
  const VF n = round_even(clamped * splat(1.44269504f));
  const VF r = fma(n, splat(-kLn2Low), fma(n, splat(-kLn2High), clamped));
  const VF tail = polynomial(r, 0.5f, 0.166665182f, 0.041666206f, 0.00836895313f, 0.00139506022f);  // (e^r - 1 - r) / r^2, |r| <= ln 2 / 2
  return times_power_of_two(fma(r * r, tail, r) + splat(1.f), n);
}

VIVACE_INLINE VF vlog(VF x) {
  const Mask subnormal = less(x, splat(0x1p-126f));
  const VF scaled = select(subnormal, x * splat(0x1p23f), x);
  // Mantissa in [sqrt 1/2, sqrt 2): the offset makes the exponent step at sqrt 1/2.
  const VI shifted = sub_int(bits(scaled), splat_int(0x3f3504f3));
  const VI exponent = shift_right_signed<23>(shifted);
  const VF f = from_bits(sub_int(bits(scaled), shift_left<23>(exponent))) - splat(1.f);
  const VF e = to_float(exponent) - select(subnormal, splat(23.f), splat(0.f));
  // (log(1 + f) - f + f^2 / 2) / f^3
  const VF p =
      polynomial(f, 0.333333105f, -0.249999866f, 0.200022265f, -0.16669251f, 0.142186597f, -0.123843446f, 0.118729599f, -0.117898233f, 0.0691542253f);
  const VF square = f * f;
  const VF tail = fma(square * f, p, fma(square, splat(-0.5f), e * splat(kLn2Low)));
  const VF finite = fma(e, splat(kLn2High), f + tail);
  const VF zero = splat(0.f), infinity = splat(__builtin_inff());
  const VF positive = select(less(x, infinity), finite, x);  // infinity and NaN stay
  const VF edge = select(less(x, zero), splat(__builtin_nanf("")), negate(infinity));
  return select(less(zero, x), positive, select(is_nan(x), x, edge));
}

VIVACE_INLINE VF vsigmoid(VF x) { return splat(1.f) / (splat(1.f) + vexp(negate(x))); }

VIVACE_INLINE VF vtanh(VF x) {
  const VF a = magnitude(x), z = x * x;
  const VF small = fma(z * x, polynomial(z, -0.333333313f, 0.133332103f, -0.0539472029f, 0.0217029676f, -0.00818267744f, 0.00214753952f), x);
  const VF large = splat(1.f) - splat(2.f) / (vexp(a + a) + splat(1.f));
  return select(less(a, splat(0.625f)), small, with_sign_of(large, x));
}

VIVACE_INLINE VF verf(VF x) {
  const VF a = magnitude(x), z = x * x;
  const VF small = x * polynomial(z, 1.12837923f, -0.376126379f, 0.112837829f, -0.0268654451f, 0.00522107491f, -0.000848471129f, 0.000112705449f,
                                  -9.68013865e-06f);
  const VF b = min_or_b(splat(3.95f), a);  // erf is 1 to the last bit from 3.92 on
  const VF minus_log_erfc =
      polynomial(b, -0.000188037433f, 1.12957847f, 0.633219898f, 0.108418554f, -0.0252082422f, 0.00420455681f, -0.000441335404f, 2.1686772e-05f);
  const VF large = splat(1.f) - vexp(negate(minus_log_erfc));
  return select(less(a, splat(1.f)), small, with_sign_of(large, x));
}

// cosine: cos x, else sin x.
template <bool cosine>
VIVACE_INLINE VF sine_or_cosine(VF x) {
  constexpr float kLargest = 6000.f;  // n * (11-bit parts of pi / 2) stays exact below; libm does the rest
  const VF n = round_even(x * splat(0.636619772f));
  VF r = fma(n, splat(-0x1.92p+0f), x);
  r = fma(n, splat(-0x1.fb4p-12f), r);
  r = fma(n, splat(-0x1.444p-24f), r);
  r = fma(n, splat(-0x1.68c234p-39f), r);
  const VF z = r * r;
  const VF sine = fma(z * r, polynomial(z, -0.166666672f, 0.00833332911f, -0.000198392561f, 2.71756448e-06f), r);
  const VF cosine_part = polynomial(z, 0.0416666679f, -0.00138888834f, 2.47994358e-05f, -2.72033049e-07f);
  const VF cosine_value = fma(z * z, cosine_part, fma(z, splat(-0.5f), splat(1.f)));
  const VI quadrant = add_int(to_int(n), splat_int(cosine ? 1 : 0));
  const VF value = select(is_set(and_int(quadrant, splat_int(1))), cosine_value, sine);
  VF result = from_bits(xor_int(bits(value), shift_left<30>(and_int(quadrant, splat_int(2)))));
  if (any(less(splat(kLargest), magnitude(x)))) {
    alignas(64) float in[kLanes], out[kLanes];
    store_f32(x, in);
    store_f32(result, out);
    for (int i = 0; i < kLanes; ++i)
      if (__builtin_fabsf(in[i]) > kLargest) out[i] = cosine ? __builtin_cosf(in[i]) : __builtin_sinf(in[i]);
    result = load_f32(out);
  }
  return result;
}

VIVACE_INLINE VF vsin(VF x) { return sine_or_cosine<false>(x); }
VIVACE_INLINE VF vcos(VF x) { return sine_or_cosine<true>(x); }

// x * sigmoid(y), to 6 units in the last place of x: the exponential is 2^(-y log2 e) with the product rounded once, whose relative error grows
// with |y| as fast as its weight in 1 + e^-y falls. The argument is clamped to where the power is normal, so that it stays exact to scale by it;
// beyond, the factor is 2^-126 or 1 instead of ever closer to 0 or 1.
VIVACE_INLINE VF times_sigmoid(VF x, VF y) {
  const VF exponent = min_or_b(splat(126.f), max_or_b(splat(-126.f), y * splat(-1.44269504f)));
  const VF n = round_even(exponent), r = exponent - n;
  const VF power = polynomial(r, 1.00000012f, 0.693146944f, 0.240221173f, 0.0555071458f, 0.00967565551f, 0.00132763572f);  // 2^r, |r| <= 1/2
  return x / (splat(1.f) + times_power_of_two(power, n));
}

VIVACE_INLINE VF vsilu(VF x) { return times_sigmoid(x, x); }
VIVACE_INLINE VF vquick_gelu(VF x) { return times_sigmoid(x, x * splat(1.702f)); }
VIVACE_INLINE VF vgelu_tanh(VF x) {
  const VF u = x * fma(x * x, splat(0.044715f), splat(1.f));
  return times_sigmoid(x, u * splat(1.59576912f));  // (1 + tanh(y)) / 2 = sigmoid(2 y)
}

// erf as one rational function, to 6e-7 absolute: what 1 + erf needs, at less than half of the work of verf. The numerator is scaled up by
// 2.5e-7, so that beyond the clamp the maximum makes it -1 exactly and gelu 0.
VIVACE_INLINE VF vgelu(VF x) {
  const VF t = min_or_b(splat(3.75f), max_or_b(splat(-3.75f), x * splat(0.707106781f))), z = t * t;
  const VF p = polynomial(z, 1.12837923f, 0.190816805f, 0.0494087636f, 0.00336056459f, 0.000137621202f, -2.03754553e-06f, 2.18901288e-08f);
  const VF q = polynomial(z, 1.f, 0.502437472f, 0.111277469f, 0.0136168785f, 0.000886202324f);
  const VF e = max_or_b(splat(-1.f), t * p / q), half = x * splat(0.5f);
  return fma(half, e, half);
}
// max(0, x), a NaN kept.
VIVACE_INLINE VF vrelu(VF x) { return max_or_b(splat(0.f), x); }

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
