// What follows the product, on one register tile that still lies in the first cache. Internal linkage, compiled per level.
#pragma once

#include <algorithm>
#include <cstring>

#include "backends/cpu/kernels/gemm/level.h"
#include "backends/cpu/kernels/gemm/simd_inl.h"

namespace vivace::cpu::gemm_detail {
namespace {

// 2^x, relative error 2e-9 before rounding: minimax polynomial on [-1/2, 1/2], then the exponent.
inline Vec exp2(Vec x) {
  const Vec n = round_even(x), f = sub(x, n);
  Vec p = splat(0.0001534581242594868f);
  p = fma(p, f, splat(0.0013399930903688073f));
  p = fma(p, f, splat(0.009618489071726799f));
  p = fma(p, f, splat(0.05550328642129898f));
  p = fma(p, f, splat(0.24022646248340607f));
  p = fma(p, f, splat(0.6931471824645996f));
  p = fma(p, f, splat(1.f));
  return scale_exponent(p, n);
}

constexpr float kLog2E = 1.44269504f;

// x / (1 + 2^t). The exponent is bounded so that the power, and its reciprocal, are normal numbers.
inline Vec times_sigmoid(Vec x, Vec t) { return mul(x, reciprocal(add(splat(1.f), exp2(at_least(splat(-126.f), at_most(splat(126.f), t)))))); }

// x/2 (1 + erf(x / sqrt 2)). erfc by Abramowitz and Stegun 7.1.26: absolute error 1.5e-7, an ulp of the 1 + erf it is added to.
inline Vec gelu(Vec x) {
  // erfc(14) is 0 in float32; the bound keeps infinity out of the polynomial.
  const Vec y = at_most(splat(14.f), mul(abs(x), splat(0.70710678f)));
  const Vec t = reciprocal(fma(y, splat(0.3275911f), splat(1.f)));
  Vec p = splat(1.061405429f);
  p = fma(p, t, splat(-1.453152027f));
  p = fma(p, t, splat(1.421413741f));
  p = fma(p, t, splat(-0.284496736f));
  p = fma(p, t, splat(0.254829592f));
  const Vec half_erfc = mul(mul(mul(p, t), splat(0.5f)), exp2(mul(mul(y, y), splat(-kLog2E))));
  return mul(x, if_positive(x, sub(splat(1.f), half_erfc), half_erfc));
}

template <Act kAct>
inline Vec activate(Vec x) {
  if constexpr (kAct == Act::none) return x;
  if constexpr (kAct == Act::silu) return times_sigmoid(x, mul(x, splat(-kLog2E)));
  if constexpr (kAct == Act::gelu) return gelu(x);
  if constexpr (kAct == Act::quick_gelu) return times_sigmoid(x, mul(x, splat(-1.702f * kLog2E)));
  if constexpr (kAct == Act::relu) return at_least(zero(), x);
  if constexpr (kAct == Act::gelu_tanh) {
    // x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
    const Vec u = mul(x, fma(mul(x, x), splat(0.044715f), splat(1.f)));
    return times_sigmoid(x, mul(u, splat(-2.f * 0.7978845608f * kLog2E)));
  }
}

struct Pair {
  Vec first, second;
};

// One row's results: adds the residual, rounds and stores. kWidth columns, of which `valid` exist.
template <class T, int kWidth>
inline void finish_row(const EpilogueArgs& e, int64_t row, int64_t column, int valid, Pair v) {
  T* c = static_cast<T*>(e.c) + row * e.ldc + column;
  const T* residual = e.residual ? static_cast<const T*>(e.residual) + row * e.residual_stride + column : nullptr;
  if (valid == kWidth) [[likely]] {
    if (residual) v.first = add(v.first, load(residual));
    store(c, v.first);
    if constexpr (kWidth > kLanes) {
      if (residual) v.second = add(v.second, load(residual + kLanes));
      store(c + kLanes, v.second);
    }
    return;
  }
  T staged[kWidth] = {};
  const size_t bytes = static_cast<size_t>(valid) * sizeof(T);
  if (residual) {
    std::memcpy(staged, residual, bytes);
    v.first = add(v.first, load(staged));
    if constexpr (kWidth > kLanes) v.second = add(v.second, load(staged + kLanes));
  }
  store(staged, v.first);
  if constexpr (kWidth > kLanes) store(staged + kLanes, v.second);
  std::memcpy(c, staged, bytes);
}

// A panel's values out of a caller's [n] vector: columns [column, column + kLanes) of each half, of which `valid` exist.
template <bool kGeglu>
inline Pair load_columns(const float* vector, const EpilogueArgs& e, int64_t column, int valid) {
  if (!vector) return {zero(), zero()};
  const float *first = vector + column, *second = kGeglu ? first + e.columns : first + kLanes;
  if (valid == (kGeglu ? kLanes : 2 * kLanes)) return {load(first), load(second)};
  float staged[2 * kLanes] = {};
  std::memcpy(staged, first, static_cast<size_t>(valid) * sizeof(float));
  if constexpr (kGeglu) std::memcpy(staged + kLanes, second, static_cast<size_t>(valid) * sizeof(float));
  return {load(staged), load(staged + kLanes)};
}

template <bool kInt, Act kAct, bool kGeglu>
void epilogue(const EpilogueArgs& e, const float* tile, int64_t row, int rows, int64_t panel) {
  constexpr int kPanel = 2 * kLanes, kWidth = kGeglu ? kLanes : kPanel;
  const int64_t column = panel * kWidth;
  const int valid = static_cast<int>(std::min<int64_t>(kWidth, e.columns - column));
  const Pair shift = load_columns<kGeglu>(e.bias, e, column, valid);
  Pair scale{splat(1.f), splat(1.f)};
  if (e.w_scale) scale = {load(e.w_scale + panel * kPanel), load(e.w_scale + panel * kPanel + kLanes)};
  VecI offset[2] = {splat_int(0), splat_int(0)};
  if (kInt && e.w_offset) offset[0] = load_int(e.w_offset + panel * kPanel), offset[1] = load_int(e.w_offset + panel * kPanel + kLanes);

  for (int64_t end = row + rows; row < end; ++row, tile += kPanel) {
    Pair v{load(tile), load(tile + kLanes)};
    if constexpr (kInt) {
      const Vec a_scale = splat(e.a_scale[row]);
      v.first = fma(to_float(sub_int(bits(v.first), offset[0])), mul(scale.first, a_scale), shift.first);
      v.second = fma(to_float(sub_int(bits(v.second), offset[1])), mul(scale.second, a_scale), shift.second);
    } else {
      v = {fma(v.first, scale.first, shift.first), fma(v.second, scale.second, shift.second)};
    }
    if constexpr (kGeglu) {
      v.first = mul(v.first, activate<kAct>(v.second));
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
}  // namespace vivace::cpu::gemm_detail
