// Shared by the tests of the memory-bound kernels: tensors of the three float types with the values they really hold, and rounding units.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/isa.h"
#include "backends/cpu/kernels/norm/quantize.h"
#include "tensor/half.h"

namespace vivace::cpu {

inline constexpr DType kFloats[] = {DType::float32, DType::bfloat16, DType::float16};

// Half a unit in the last place, relative: the error of one rounding to nearest.
inline double unit(DType dtype) { return dtype == DType::float32 ? 0x1p-24 : dtype == DType::bfloat16 ? 0x1p-8 : 0x1p-11; }
inline constexpr double kUnit = 0x1p-24;
// The error of rounding `value` to dtype: relative, or half of the smallest float16.
inline double rounding(double value, DType dtype) { return std::abs(value) * unit(dtype) + (dtype == DType::float16 ? 0x1p-25 : 0x1p-149); }

inline double element(const void* p, DType dtype, int64_t i) {
  if (dtype == DType::bfloat16) return static_cast<float>(static_cast<const bf16*>(p)[i]);
  if (dtype == DType::float16) return static_cast<float>(static_cast<const f16*>(p)[i]);
  return static_cast<const float*>(p)[i];
}

inline void set_element(void* p, DType dtype, int64_t i, float value) {
  if (dtype == DType::bfloat16) {
    static_cast<bf16*>(p)[i] = bf16(value);
  } else if (dtype == DType::float16) {
    static_cast<f16*>(p)[i] = f16(value);
  } else {
    static_cast<float*>(p)[i] = value;
  }
}

// [rows, channels] with a stride; what lies between the rows is filled with a pattern that untouched() checks.
struct Rows {
  DType dtype;
  int64_t rows, channels, stride;
  std::vector<char> bytes;

  Rows(DType d, int64_t r, int64_t c, int64_t gap = 0)
      : dtype(d), rows(r), channels(c), stride(c + gap), bytes(static_cast<size_t>(r * (c + gap)) * dtype_size(d), '\x55') {}

  Rows& random(uint32_t seed, double mean = 0, double deviation = 1) {
    std::mt19937 engine(seed);
    std::normal_distribution<double> normal(mean, deviation);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < channels; ++c) set(r, c, static_cast<float>(normal(engine)));
    return *this;
  }
  double operator()(int64_t r, int64_t c) const { return element(bytes.data(), dtype, r * stride + c); }
  void set(int64_t r, int64_t c, float v) { set_element(bytes.data(), dtype, r * stride + c, v); }
  bool untouched() const {
    const auto width = static_cast<int64_t>(dtype_size(dtype));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t b = (r * stride + channels) * width; b < (r + 1) * stride * width; ++b)
        if (bytes[static_cast<size_t>(b)] != '\x55') return false;
    return true;
  }
  RowInput in() const { return {bytes.data(), dtype, stride}; }
  RowOutput out(RowScale* scale = nullptr) { return {bytes.data(), dtype, stride, scale}; }
};

// What byte c of a quantised row stands for.
inline double dequantized(const Rows& q, const std::vector<RowScale>& scale, int64_t r, int64_t c) {
  const RowScale& row = scale[static_cast<size_t>(r)];
  return static_cast<double>(row.scale) * (static_cast<uint8_t>(q.bytes[static_cast<size_t>(r * q.stride + c)]) - row.zero);
}

inline std::vector<float> random_floats(int64_t n, uint32_t seed, double mean = 0, double deviation = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal(mean, deviation);
  std::vector<float> v(static_cast<size_t>(n));
  for (float& f : v) f = static_cast<float>(normal(engine));
  return v;
}

// body() once at each level this machine has.
template <class Body>
void at_every_isa(const Body& body) {
  for (int level = 0; level <= static_cast<int>(kHighestIsa); ++level) {
    if (!has_isa(static_cast<Isa>(level))) continue;
    limit_isa(static_cast<Isa>(level));
    SCOPED_TRACE("isa " + std::string(isa_name(isa())));
    body();
  }
  limit_isa(kHighestIsa);
}

// body(in, out) for all pairs of float types.
template <class Body>
void for_dtype_pairs(const Body& body) {
  for (DType in : kFloats) {
    for (DType out : kFloats) {
      SCOPED_TRACE(std::string(dtype_name(in)) + " -> " + std::string(dtype_name(out)));
      body(in, out);
    }
  }
}

}  // namespace vivace::cpu
