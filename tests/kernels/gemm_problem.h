// A layer for the GEMM's tests: operands of any type, the float64 result, and what each result may be off by.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/kernels/gemm/gemm.h"
#include "base/parallel.h"
#include "int16_step.h"
#include "tensor/half.h"
#include "tensor/narrow_weight.h"

namespace vivace::cpu::gemm_test {

inline constexpr double kF32 = 0x1p-24, kBf16 = 0x1p-8, kF16 = 0x1p-11;  // unit roundoffs

// Runs a body at every level that this machine has.
class AtEveryLevel : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    limit_isa(GetParam());
    if (isa() != GetParam()) GTEST_SKIP() << "this machine lacks " << isa_name(GetParam());
    set_num_threads(1);  // thousands of tiny layers: waking threads would take most of the time; EveryNumberOfThreads has its own
  }
  void TearDown() override {
    limit_isa(kHighestIsa);
    set_num_threads(0);
  }
};

inline GemmSpec make(int64_t n, int64_t k, Compute compute, DType a, DType w, DType c) {
  return {.n = n, .k = k, .a = a, .c = c, .compute = compute, .w = w};
}

inline double unit_roundoff(DType dtype) { return dtype == bfloat16 ? kBf16 : dtype == float16 ? kF16 : kF32; }

inline double get(const void* p, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::bfloat16:
      return static_cast<const bf16*>(p)[i];
    case DType::float16:
      return static_cast<const f16*>(p)[i];
    case DType::float8_e4m3:
      return static_cast<const f8e4m3*>(p)[i];
    case DType::float64:
      return static_cast<const double*>(p)[i];
    case DType::int8:
      return static_cast<const int8_t*>(p)[i];
    case DType::uint8:
      return static_cast<const uint8_t*>(p)[i];
    default:
      return static_cast<const float*>(p)[i];
  }
}

inline void put(void* p, DType dtype, int64_t i, double x) {
  const float f = static_cast<float>(x);
  switch (dtype) {
    case DType::bfloat16:
      static_cast<bf16*>(p)[i] = bf16(f);
      break;
    case DType::float16:
      static_cast<f16*>(p)[i] = f16(f);
      break;
    case DType::float8_e4m3:
      static_cast<f8e4m3*>(p)[i] = f8e4m3(f);
      break;
    case DType::float64:
      static_cast<double*>(p)[i] = x;
      break;
    case DType::int8:
      static_cast<int8_t*>(p)[i] = static_cast<int8_t>(x);
      break;
    case DType::uint8:
      static_cast<uint8_t*>(p)[i] = static_cast<uint8_t>(x);
      break;
    default:
      static_cast<float*>(p)[i] = f;
  }
}

// Exactly as long as asked for, so that AddressSanitizer sees every byte read beyond.
struct Buffer {
  DType dtype;
  int64_t size;
  std::unique_ptr<char[]> bytes;
  Buffer(DType dtype, int64_t size) : dtype(dtype), size(size), bytes(new char[static_cast<size_t>(size) * dtype_size(dtype)]()) {}
  void* data() { return bytes.get(); }
  double operator[](int64_t i) const { return get(bytes.get(), dtype, i); }
  void set(int64_t i, double x) { put(bytes.get(), dtype, i, x); }
};

struct Aligned {
  void* p;
  explicit Aligned(size_t bytes) : p(std::aligned_alloc(64, (bytes + 63) / 64 * 64 + 64)) {}
  ~Aligned() { std::free(p); }
};

inline double activate(Act act, double x) {
  switch (act) {
    case Act::none:
      return x;
    case Act::silu:
      return x / (1 + std::exp(-x));
    case Act::gelu:
      return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    case Act::gelu_tanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Act::quick_gelu:
      return x / (1 + std::exp(-1.702 * x));
    case Act::relu:
      return std::max(x, 0.0);
  }
  return 0;
}

// No activation is steeper than this (GELU's maximum slope is 1.129).
inline constexpr double kSlope = 1.13;
// The epilogue's own error for an exact argument: rounding the exponent's argument costs |x| roundoffs (three of them for tanh's cubic),
// erfc's polynomial 1.5e-7 of x/2.
inline double activation_error(Act act, double x, double y) {
  switch (act) {
    case Act::none:
    case Act::relu:
      return 0;
    case Act::gelu:
      return std::fabs(x) * (0.75e-7 + 6 * kF32);
    case Act::gelu_tanh:
      return std::fabs(y) * (3 * (2 * std::fabs(x) + 0.1 * std::fabs(x * x * x)) + 8) * kF32 + 1e-37;
    default:
      return std::fabs(y) * (3 * std::fabs(x) + 8) * kF32 + 1e-37;
  }
}

struct Case {
  GemmSpec spec{};
  int64_t m = 1;
  DType w_given = float32;
  bool bias = false, residual = false, in_place = false;
  bool whole = false;  // small whole numbers, whose float32 sums are exact in any order
};

inline std::string describe(const Case& c, Isa level) {
  constexpr const char* computes[] = {"f32", "bf16", "bf16x3", "int8_dynamic", "int16_dynamic", "float8_dynamic"};
  const GemmSpec& s = c.spec;
  return std::string(isa_name(level)) + " m" + std::to_string(c.m) + " n" + std::to_string(s.n) + " k" + std::to_string(s.k) + " " +
         computes[static_cast<int>(s.compute)] + " a=" + std::string(dtype_name(s.a)) + " w=" + std::string(dtype_name(s.w)) + " given " +
         std::string(dtype_name(c.w_given)) + " c=" + std::string(dtype_name(s.c)) + " act" + std::to_string(static_cast<int>(s.act)) +
         (s.geglu ? " geglu" : "") + (s.rows_per_gate ? " gate of " + std::to_string(s.rows_per_gate) : "");
}

// W as the GEMM stores it at this level, from its documented rule; for int16_dynamic, whose rounding product() bounds, as it is given.
inline void store_weights(const Case& c, const Buffer& w, std::vector<double>& stored) {
  const int64_t n = c.spec.n, k = c.spec.k;
  const bool pairs = c.spec.compute == Compute::int8_dynamic, rounds_again = pairs && (isa() == Isa::avx2 || isa() == Isa::avx512);
  for (int64_t i = 0; i < n; ++i) {
    float absmax = 0;
    for (int64_t j = 0; j < k; ++j) absmax = std::max(absmax, std::fabs(static_cast<float>(w[i * k + j])));
    for (int64_t j = 0; pairs && j + 1 < k; j += 2) {
      const auto first = static_cast<float>(w[i * k + j]), second = static_cast<float>(w[i * k + j + 1]);
      if ((first < 0) == (second < 0)) absmax = std::max(absmax, std::fabs(first + second));
    }
    const bool scaled = (c.spec.w == DType::int8 || c.spec.w == DType::float8_e4m3) && (c.spec.w != c.w_given || (rounds_again && absmax > 128));
    const float scale = scaled ? absmax / (c.spec.w == DType::int8 ? 127.f : 448.f) : 1.f, inverse = scale > 0 ? 1.f / scale : 0.f;
    for (int64_t j = 0; j < k; ++j) {
      const auto x = static_cast<float>(w[i * k + j]);
      double y = x;
      if (c.spec.compute == Compute::int16_dynamic) {
        y = x;
      } else if (scaled) {
        y = c.spec.w == DType::int8 ? std::nearbyintf(x * inverse) : static_cast<double>(f8e4m3(x * inverse));
      } else if (c.spec.w == bfloat16) {
        y = bf16(x);
      } else if (c.spec.w == float16) {
        y = f16(x);
      }
      stored[i * k + j] = y * scale;
    }
  }
}

// A row as the bytes of quantize_rows stand for it.
inline void round_to_bytes(std::vector<double>& row) {
  float above = 0, below = 0;
  for (double x : row) above = std::max(above, static_cast<float>(x)), below = std::max(below, -static_cast<float>(x));
  const float scale = above / 254.9f + below / 254.9f, inverse = 1 / scale;
  for (double& x : row) x = std::nearbyint(static_cast<double>(static_cast<float>(x) * inverse)) * static_cast<double>(scale);
}

// A row as the bytes of float8 stand for it.
inline void round_to_float8(std::vector<double>& row) {
  float largest = 0;
  for (double x : row) largest = std::max(largest, static_cast<float>(std::fabs(x)));
  const NarrowRow narrow(DType::float8_e4m3, largest);
  for (double& x : row) x = static_cast<double>(static_cast<float>(narrow.float8(static_cast<float>(x)))) * static_cast<double>(narrow.scale());
}

// One layer with its data. Made once, run and compared as often as wanted.
class Layer {
 public:
  explicit Layer(const Case& c)
      : c_(c),
        s_(c_.spec),
        columns_(s_.columns()),
        lda_(s_.k + 3),
        ldc_(columns_ + 5),
        ldr_(c.in_place ? ldc_ : columns_ + 2),
        a_(s_.a, (c.m - 1) * lda_ + s_.k),
        w_(c.w_given, s_.n * s_.k),
        residual_(s_.c, (c.m - 1) * ldr_ + columns_),
        bias_(float32, s_.n),
        a_scale_(static_cast<size_t>(c.m)),
        gate_(float32, gates() * (columns_ + 4)),
        packed_(gemm_packed_bytes(s_)) {
    std::mt19937 random(static_cast<unsigned>(c.m * 131 + s_.n * 17 + s_.k));
    std::normal_distribution<double> normal;
    std::uniform_int_distribution<int> bytes(-127, 127);
    const double spread = 1 / std::sqrt(static_cast<double>(s_.k));
    const auto some = [&](double scale) { return c.whole ? static_cast<double>(bytes(random) % 4) : normal(random) * scale; };
    for (int64_t i = 0; i < a_.size; ++i) a_.set(i, s_.a == DType::uint8 ? bytes(random) + 128 : some(1));
    for (int64_t i = 0; i < w_.size; ++i) w_.set(i, c.w_given == DType::int8 ? bytes(random) : some(spread));
    for (int64_t i = 0; i < s_.n; ++i) bias_.set(i, normal(random));
    for (int64_t i = 0; i < residual_.size; ++i) residual_.set(i, normal(random));
    for (int64_t i = 0; i < gate_.size; ++i) gate_.set(i, normal(random));
    for (int i = 0; i < c.m; ++i)
      a_scale_[static_cast<size_t>(i)] = {0.01f + 0.001f * static_cast<float>(i % 7), s_.a == DType::uint8 ? (100 + 37 * i) % 256 : 0};
    gemm_pack(s_, w_.data(), c.w_given, packed_.p);
  }

  void use_strassen() { s_.strassen = true; }

  Buffer run(const GemmBlocking& blocking) {
    Buffer c(s_.c, (c_.m - 1) * ldc_ + columns_);
    for (int64_t i = 0; i < c.size; ++i) c.set(i, 77);  // between the rows this must survive
    if (c_.in_place) std::memcpy(c.data(), residual_.data(), static_cast<size_t>(c.size) * dtype_size(s_.c));
    Aligned workspace(gemm_workspace_bytes(s_, c_.m, num_threads(), blocking));
    GemmCall call{
        .packed = packed_.p, .a = a_.data(), .lda = lda_, .m = c_.m, .c = c.data(), .ldc = ldc_, .workspace = workspace.p, .blocking = blocking};
    if (quantized_a()) call.a_scale = a_scale_.data();
    if (c_.bias) call.epilogue.bias = static_cast<float*>(bias_.data());
    if (c_.residual) call.epilogue.residual = c_.in_place ? c.data() : residual_.data(), call.epilogue.residual_stride = ldr_;
    if (s_.rows_per_gate) call.epilogue.gate = static_cast<float*>(gate_.data()), call.epilogue.gate_stride = columns_ + 4;
    EXPECT_EQ(gemm(s_, call), -1);
    return c;
  }

  // Against float64, with the tolerance that the roundings on the way explain.
  void compare(const Buffer& c) const {
    std::vector<double> stored(static_cast<size_t>(s_.n * s_.k)), row(static_cast<size_t>(s_.k));
    store_weights(c_, w_, stored);
    for (int64_t i = 0; i < c_.m; ++i) {
      for (int64_t j = 0; j < s_.k; ++j) row[static_cast<size_t>(j)] = a_[i * lda_ + j];
      const RowScale& given = a_scale_[static_cast<size_t>(i)];
      if (quantized_a())
        for (double& x : row) x = (x - given.zero) * static_cast<double>(given.scale);
      else if (s_.compute == Compute::int8_dynamic)
        round_to_bytes(row);
      else if (s_.compute == Compute::float8_dynamic)
        round_to_float8(row);
      for (int64_t j = 0; j < columns_; ++j) {
        const auto [y, error] = expected(row, stored, i, j);
        const double tolerance = error * 1.01 + unit_roundoff(s_.c) * (std::fabs(y) + error) + (s_.c == float16 ? 0x1p-25 : 1e-37);
        ASSERT_NEAR(c[i * ldc_ + j], y, tolerance) << "row " << i << " column " << j;
      }
      for (int64_t j = columns_; j < ldc_ && i + 1 < c_.m; ++j) {
        ASSERT_EQ(c[i * ldc_ + j], c_.in_place ? residual_[i * ldc_ + j] : 77) << "between the rows: " << i << ", " << j;
      }
    }
  }

  // sqrt(sum of squared errors / sum of squared sums) of a layer whose result is the products' sums in float32.
  double relative_error(const Buffer& c) const {
    std::vector<double> stored(static_cast<size_t>(s_.n * s_.k));
    store_weights(c_, w_, stored);
    double errors = 0, sums = 0;
    for (int64_t i = 0; i < c_.m; ++i) {
      for (int64_t j = 0; j < columns_; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < s_.k; ++k) sum += a_[i * lda_ + k] * stored[static_cast<size_t>(j * s_.k + k)];
        errors += (c[i * ldc_ + j] - sum) * (c[i * ldc_ + j] - sum), sums += sum * sum;
      }
    }
    return std::sqrt(errors / sums);
  }

 private:
  struct Value {
    double x, error;
  };

  bool quantized_a() const { return s_.a == s_.rows() && s_.rows() != float32; }
  int64_t gates() const { return s_.rows_per_gate ? (c_.m + s_.rows_per_gate - 1) / s_.rows_per_gate : 0; }

  // One product with its bias, before the activation.
  Value product(const std::vector<double>& row, const std::vector<double>& stored, int64_t i, int64_t column) const {
    // What the factors lose on the way into the product, relative to |a||w|.
    double factors = 0;
    if (s_.compute == Compute::bf16) factors = (s_.a != bfloat16 ? kBf16 : 0) + (s_.w == float16 ? kBf16 : 0);
    if (s_.compute == Compute::bf16x3) factors = 3 * kBf16 * kBf16;  // what each split leaves over, and low x low
    const double* w = stored.data() + column * s_.k;
    // float32 sums lose a roundoff of the running sum at each of k additions (three times that many in bf16x3); int32 sums none.
    const double additions = s_.integers() ? 0 : s_.compute == Compute::bf16x3 ? 3 : 1;
    const double sums = additions * static_cast<double>(s_.k + 2) * kF32;
    double sum = 0, magnitude = 0;
    for (size_t j = 0; j < row.size(); ++j) {
      const double p = row[j] * w[j];
      sum += p, magnitude += std::fabs(p);
    }
    double rounding = 0;
    if (s_.compute == Compute::int16_dynamic) {
      const double a_step = int16_step(s_.k, [&](int64_t j) { return row[static_cast<size_t>(j)]; }),
                   w_step = int16_step(s_.k, [&](int64_t j) { return w[j]; });
      for (size_t j = 0; j < row.size(); ++j) rounding += std::fabs(row[j]) * w_step / 2 + std::fabs(w[j]) * a_step / 2 + a_step * w_step / 4;
    }
    const double bias = c_.bias ? bias_[column] : 0;
    return {sum + bias, rounding + magnitude * (factors + sums) + 5 * kF32 * (std::fabs(sum) + std::fabs(bias))};
  }

  Value expected(const std::vector<double>& row, const std::vector<double>& stored, int64_t i, int64_t j) const {
    const Value v = product(row, stored, i, j);
    const Act act = s_.geglu ? Act::none : s_.act;
    double y = activate(act, v.x), error = kSlope * v.error + activation_error(act, v.x, y);
    if (s_.geglu) {
      const Value gate = product(row, stored, i, s_.n / 2 + j);
      const double g = activate(s_.act, gate.x), g_error = kSlope * gate.error + activation_error(s_.act, gate.x, g);
      y = v.x * g, error = v.error * (std::fabs(g) + g_error) + std::fabs(v.x) * g_error + kF32 * std::fabs(y);
    }
    if (s_.rows_per_gate) {
      const double gate = gate_[i / s_.rows_per_gate * (columns_ + 4) + j];
      y *= gate, error = std::fabs(gate) * error + 4 * kF32 * std::fabs(gate) * (std::fabs(v.x) + (c_.bias ? std::fabs(bias_[j]) : 0));
    }
    if (c_.residual) {
      const double residual = residual_[i * ldr_ + j];
      y += residual, error += 2 * kF32 * (std::fabs(y) + std::fabs(residual));
    }
    return {y, error};
  }

  Case c_;
  GemmSpec s_;
  int64_t columns_, lda_, ldc_, ldr_;
  Buffer a_, w_, residual_, bias_;
  std::vector<RowScale> a_scale_;
  Buffer gate_;
  Aligned packed_;
};

inline void check(const Case& c) {
  SCOPED_TRACE(describe(c, isa()));
  ASSERT_EQ(gemm_refuse(c.spec, isa()), std::nullopt);
  Layer layer(c);
  layer.compare(layer.run({}));
}

// The blocking changes when sums are put aside, not their order, except for bf16x3: its three products take turns at each block.
inline void check_blockings(const Case& c, const std::vector<GemmBlocking>& blockings) {
  SCOPED_TRACE(describe(c, isa()));
  Layer layer(c);
  Buffer reference = layer.run({});
  layer.compare(reference);
  for (const GemmBlocking& b : blockings) {
    SCOPED_TRACE("blocking " + std::to_string(b.tiles) + ", " + std::to_string(b.panels) + ", " + std::to_string(b.units) +
                 (b.tile_outer ? " tile_outer" : "") + (b.pack_a ? " pack_a" : ""));
    Buffer result = layer.run(b);
    if (c.spec.compute == Compute::bf16x3) {
      layer.compare(result);
    } else {
      ASSERT_EQ(std::memcmp(result.data(), reference.data(), static_cast<size_t>(result.size) * dtype_size(result.dtype)), 0);
    }
    if (testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace vivace::cpu::gemm_test
