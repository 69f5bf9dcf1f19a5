// What follows the product, on one register tile that still lies in the first cache. Internal linkage, compiled per level.
#pragma once

#include <algorithm>
#include <cstring>

#include "backends/cpu/kernels/gemm/elements_inl.h"
#include "backends/cpu/kernels/gemm/level.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

#ifdef __AVX512F__
inline VF reciprocal(VF x) {
  const VF r = _mm512_rcp14_ps(x);
  return r * _mm512_fnmadd_ps(x, r, Set(2.f));
}
inline VF scale_exponent(VF x, VF n) { return MulByFloorPow2(x, n); }
#else
inline VF reciprocal(VF x) { return Set(1.f) / x; }
// x * 2^n for an integral n. The factor's exponent is clamped to what a normal float holds: beyond it results are 2^-126 of their size, or very
// large.
inline VF scale_exponent(VF x, VF n) { return x * BitCast(ShiftLeft<23>(Add(NearestInt(Max(Set(-126.f), Min(Set(127.f), n))), Set(127)))); }
#endif

// 2^x, relative error 2e-9 before rounding: minimax polynomial on [-1/2, 1/2], then the exponent.
inline VF exp2(VF x) {
  const VF n = Round(x), f = x - n;
  VF p = Set(0.0001534581242594868f);
  p = MulAdd(p, f, Set(0.0013399930903688073f));
  p = MulAdd(p, f, Set(0.009618489071726799f));
  p = MulAdd(p, f, Set(0.05550328642129898f));
  p = MulAdd(p, f, Set(0.24022646248340607f));
  p = MulAdd(p, f, Set(0.6931471824645996f));
  p = MulAdd(p, f, Set(1.f));
  return scale_exponent(p, n);
}

constexpr float kLog2E = 1.44269504f;

// x / (1 + 2^t). The exponent is bounded so that the power, and its reciprocal, are normal numbers.
inline VF times_sigmoid(VF x, VF t) { return x * reciprocal(Set(1.f) + exp2(Max(Set(-126.f), Min(Set(126.f), t)))); }

// x/2 (1 + erf(x / sqrt 2)). erfc by Abramowitz and Stegun 7.1.26: absolute error 1.5e-7, an ulp of the 1 + erf it is added to.
inline VF gelu(VF x) {
  // erfc(14) is 0 in float32; the bound keeps infinity out of the polynomial.
  const VF y = Min(Set(14.f), Abs(x) * Set(0.70710678f));
  const VF t = reciprocal(MulAdd(y, Set(0.3275911f), Set(1.f)));
  VF p = Set(1.061405429f);
  p = MulAdd(p, t, Set(-1.453152027f));
  p = MulAdd(p, t, Set(1.421413741f));
  p = MulAdd(p, t, Set(-0.284496736f));
  p = MulAdd(p, t, Set(0.254829592f));
  const VF half_erfc = p * t * Set(0.5f) * exp2(y * y * Set(-kLog2E));
  return x * IfThenElse(Lt(Zero(), x), Set(1.f) - half_erfc, half_erfc);
}

template <Act kAct>
inline VF activate(VF x) {
  if constexpr (kAct == Act::none) return x;
  if constexpr (kAct == Act::silu) return times_sigmoid(x, x * Set(-kLog2E));
  if constexpr (kAct == Act::gelu) return gelu(x);
  if constexpr (kAct == Act::quick_gelu) return times_sigmoid(x, x * Set(-1.702f * kLog2E));
  if constexpr (kAct == Act::relu) return Max(Zero(), x);
  if constexpr (kAct == Act::gelu_tanh) {
    // x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
    const VF u = x * MulAdd(x * x, Set(0.044715f), Set(1.f));
    return times_sigmoid(x, u * Set(-2.f * 0.7978845608f * kLog2E));
  }
}

struct Pair {
  VF first, second;
};

// One row's results: adds the residual, rounds and stores. kWidth columns, of which `valid` exist.
template <class T, int kWidth>
inline void finish_row(const EpilogueArgs& e, int64_t row, int64_t column, int valid, Pair v) {
  T* c = static_cast<T*>(e.c) + row * e.ldc + column;
  const T* residual = e.residual ? static_cast<const T*>(e.residual) + row * e.residual_stride + column : nullptr;
  if (valid == kWidth) [[likely]] {
    if (residual) v.first = v.first + load(residual);
    store(v.first, c);
    if constexpr (kWidth > kLanes) {
      if (residual) v.second = v.second + load(residual + kLanes);
      store(v.second, c + kLanes);
    }
    return;
  }
  T staged[kWidth] = {};
  const size_t bytes = static_cast<size_t>(valid) * sizeof(T);
  if (residual) {
    std::memcpy(staged, residual, bytes);
    v.first = v.first + load(staged);
    if constexpr (kWidth > kLanes) v.second = v.second + load(staged + kLanes);
  }
  store(v.first, staged);
  if constexpr (kWidth > kLanes) store(v.second, staged + kLanes);
  std::memcpy(c, staged, bytes);
}

// A panel's values out of a caller's [n] vector: columns [column, column + kLanes) of each half, of which `valid` exist.
template <bool kGeglu>
inline Pair load_columns(const float* vector, const EpilogueArgs& e, int64_t column, int valid) {
  if (!vector) return {Zero(), Zero()};
  const float *first = vector + column, *second = kGeglu ? first + e.columns : first + kLanes;
  if (valid == (kGeglu ? kLanes : 2 * kLanes)) return {LoadU(first), LoadU(second)};
  float staged[2 * kLanes] = {};
  std::memcpy(staged, first, static_cast<size_t>(valid) * sizeof(float));
  if constexpr (kGeglu) std::memcpy(staged + kLanes, second, static_cast<size_t>(valid) * sizeof(float));
  return {LoadU(staged), LoadU(staged + kLanes)};
}

template <bool kInt, Act kAct, bool kGeglu>
void epilogue(const EpilogueArgs& e, const float* tile, int64_t row, int rows, int64_t panel) {
  constexpr int kPanel = 2 * kLanes, kWidth = kGeglu ? kLanes : kPanel;
  const int64_t column = panel * kWidth;
  const int valid = static_cast<int>(std::min<int64_t>(kWidth, e.columns - column));
  const Pair shift = load_columns<kGeglu>(e.bias, e, column, valid);
  Pair scale{Set(1.f), Set(1.f)};
  if (e.w_scale) scale = {LoadU(e.w_scale + panel * kPanel), LoadU(e.w_scale + panel * kPanel + kLanes)};
  Pair sum{Zero(), Zero()};
  if (kInt && e.w_sum) sum = {Neg(ConvertTo(LoadU(e.w_sum + panel * kPanel))), Neg(ConvertTo(LoadU(e.w_sum + panel * kPanel + kLanes)))};

  for (int64_t end = row + rows; row < end; ++row, tile += kPanel) {
    Pair v{LoadU(tile), LoadU(tile + kLanes)};
    if constexpr (kInt) {
      const VF a_scale = Set(e.a_scale[row].scale);
      const VF zero = ConvertTo(Set(e.a_scale[row].zero));
      v.first = MulAdd(MulAdd(zero, sum.first, ConvertTo(BitCast(v.first))), scale.first * a_scale, shift.first);
      v.second = MulAdd(MulAdd(zero, sum.second, ConvertTo(BitCast(v.second))), scale.second * a_scale, shift.second);
    } else {
      const VF a_scale = Set(e.a_scale ? e.a_scale[row].scale : 1.f);
      v = {MulAdd(v.first, scale.first * a_scale, shift.first), MulAdd(v.second, scale.second * a_scale, shift.second)};
    }
    if constexpr (kGeglu) {
      v.first = v.first * activate<kAct>(v.second);
    } else {
      v = {activate<kAct>(v.first), activate<kAct>(v.second)};
    }
    switch (e.c_dtype) {
      case DType::bfloat16:
        finish_row<bf16, kWidth>(e, row, column, valid, v);
        break;
      case DType::float16:
        finish_row<f16, kWidth>(e, row, column, valid, v);
        break;
      default:
        finish_row<float, kWidth>(e, row, column, valid, v);
        break;
    }
  }
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
