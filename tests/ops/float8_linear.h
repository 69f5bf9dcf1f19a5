// Linears of float8_dynamic by plain arithmetic: the bytes that tensor/narrow_weight.h makes of rows and of weights, exact products, the scales of
// both. A device's kernels are off by what float32 sums of these products may lose, in any order.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "ops/builder.h"
#include "run_plan.h"
#include "tensor/narrow_weight.h"
#include "vivace/generator.h"

namespace vivace {

struct Float8Case {
  const char* name;
  bool geglu = false, rows = false;  // the rows are quantised on their own, for two linears
  bool bias = true, residual = false, gate = false, stored = false;
  const char* act = "";
  int64_t features = 64, columns = 48;
  friend void PrintTo(const Float8Case& c, std::ostream* out) { *out << c.name; }
};

inline constexpr Float8Case kFloat8Cases[] = {
    {.name = "plain", .bias = false},
    {.name = "bias"},
    {.name = "bias_and_residual", .residual = true},
    {.name = "gate", .residual = true, .gate = true},
    {.name = "activation", .act = "gelu_tanh"},
    {.name = "another_activation", .act = "silu"},
    {.name = "geglu", .geglu = true},
    {.name = "rows_for_two", .rows = true, .residual = true},
    {.name = "rows_for_two_geglu", .geglu = true, .rows = true},
    {.name = "stored", .bias = false, .stored = true},
    {.name = "stored_with_bias", .stored = true},
    {.name = "stored_geglu", .geglu = true, .stored = true},
    {.name = "nothing_is_aligned", .bias = true, .residual = true, .features = 37, .columns = 20},
};

class Float8Linear {
 public:
  // Images of rows: of zeros, one with an outlier that leaves the rest few bits, normal ones.
  static constexpr int64_t kImages = 2, kTokens = 7, kRows = kImages * kTokens;

  // sums: what a product may be off in the sum.
  Float8Linear(const Float8Case& c, DType dtype, double sums = 0x1p-24) : c_(c), dtype_(dtype), sums_(sums) {
    const int64_t k = c.features, n = c.columns, out = c.geglu ? n / 2 : n;
    Tensor x = normal(1, {kImages, kTokens, k});
    std::fill_n(x.as<float>(), k, 0.f);
    x.as<float>()[k + 3] = 700;
    values_["x"] = rounded(x);
    values_["r"] = rounded(normal(2, {kImages, kTokens, out}));
    values_["g"] = normal(3, {kImages, 1, out});
    values_["b"] = normal(4, {n});
    const Tensor w = normal(5, {n, k}, 0.1f);
    values_["w"] = w;
    if (!c.stored) return;
    Tensor bytes({n, k}, DType::float8_e4m3), scales({n}, DType::float32);
    for (int64_t j = 0; j < n; ++j) {
      const NarrowRow row = narrow(w, j);
      scales.as<float>()[j] = row.scale();
      for (int64_t i = 0; i < k; ++i) bytes.as<f8e4m3>()[j * k + i] = row.float8(w.as<float>()[j * k + i]);
    }
    values_["w"] = bytes, values_["s"] = scales;
    floats_ = w;
  }

  Graph graph() const {
    Builder b(dtype_, [this](const std::string& name) { return name == "w" && c_.stored ? DType::float8_e4m3 : DType::float32; });
    Value x = b.input("x", dtype_, values_.at("x").shape());
    Attrs attrs{{"compute", "float8_dynamic"}};
    if (*c_.act) attrs.set("act", std::string(c_.act));
    if (c_.rows) {
      x = b.emit(Op::quantize_rows, {x}, {{"quantize", "float8_e4m3"}});
      attrs.set("to", std::string(dtype_name(dtype_)));
    }
    const int64_t n = c_.columns;
    std::vector<Value> in{x, b.weight("w", {n, c_.features}), c_.bias ? b.weight("b", {n}) : Value{},
                          c_.residual ? b.input("r", dtype_, values_.at("r").shape()) : Value{}, c_.stored ? b.weight("s", {n}) : Value{}};
    if (c_.gate) in.push_back(b.input("g", DType::float32, values_.at("g").shape()));
    b.output("y", b.emit(c_.geglu ? Op::geglu_linear : Op::linear, in, attrs));
    return b.take();
  }

  std::shared_ptr<const Plan> compiled(const std::shared_ptr<Device>& device) const {
    return std::make_shared<const Plan>(vivace::compile(graph(), *device, {}));
  }

  // Runs it and compares.
  void check(const std::shared_ptr<Device>& device) const {
    const std::shared_ptr<const Plan> plan = compiled(device);
    EXPECT_EQ(plan->graph_breaks, std::vector<std::string>());
    const Tensor y = run_plan(plan, device, values_);
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t j = 0; j < y.shape().back(); ++j) {
        const auto [want, error] = wanted(r, j);
        const double unit = dtype_ == DType::float32 ? 0x1p-24 : dtype_ == DType::bfloat16 ? 0x1p-8 : 0x1p-11;
        ASSERT_NEAR(y.as<float>()[r * y.shape().back() + j], want, error + unit * (std::abs(want) + error)) << "row " << r << ", column " << j;
      }
  }

  // With one number of the rows another: what its rows become is told.
  void run_with(float number, const std::shared_ptr<Device>& device) const {
    std::map<std::string, Tensor> values = values_;
    values["x"] = values["x"].clone();
    values["x"].as<float>()[5 * c_.features + 3] = number;
    run_plan(compiled(device), device, values);
  }

 private:
  struct Number {
    double value, error;
  };

  static Tensor normal(uint64_t seed, const Shape& shape, float scale = 1) {
    Tensor t = Generator(seed).randn(shape);
    for (float& v : t.floats()) v *= scale;
    return t;
  }
  Tensor rounded(const Tensor& t) const { return t.to(dtype_).to(DType::float32); }
  NarrowRow narrow(const Tensor& t, int64_t row) const { return {DType::float8_e4m3, absmax(t.as<float>() + row * c_.features, c_.features)}; }

  // The sum with its scales and bias, before what follows.
  Number product(int64_t r, int64_t column) const {
    const Tensor &x = values_.at("x"), &w = c_.stored ? floats_ : values_.at("w");
    const int64_t k = c_.features;
    const NarrowRow row = narrow(x, r), weight = narrow(w, column);
    double sum = 0, size = 0;
    for (int64_t i = 0; i < k; ++i) {
      const double p = static_cast<double>(static_cast<float>(row.float8(x.as<float>()[r * k + i]))) *
                       static_cast<float>(weight.float8(w.as<float>()[column * k + i]));
      sum += p, size += std::abs(p);
    }
    const double scale = static_cast<double>(row.scale()) * weight.scale(), bias = c_.bias ? bias_of(column) : 0;
    return {sum * scale + bias, (static_cast<double>(k) + 8) * sums_ * (size * scale + std::abs(bias))};
  }
  // A library adds the bias in the result's dtype.
  double bias_of(int64_t column) const { return values_.at("b").floats()[static_cast<size_t>(column)]; }

  static double activated(std::string_view act, double x) {
    if (act == "silu") return x / (1 + std::exp(-x));
    if (act == "gelu_tanh") return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    return act == "gelu" ? x / 2 * (1 + std::erf(x / std::sqrt(2.0))) : x;
  }

  Number wanted(int64_t r, int64_t j) const {
    constexpr double kSlope = 1.13, kFunction = 16 * 0x1p-24;  // no activation is steeper; what one is off, of its argument
    const int64_t out = c_.geglu ? c_.columns / 2 : c_.columns;
    Number y = product(r, j);
    if (c_.bias && dtype_ != DType::float32) y.error += 0x1p-8 * std::abs(bias_of(j));
    if (c_.geglu) {
      const Number gate = product(r, out + j);
      const double g = activated("gelu", gate.value), off = kSlope * gate.error + kFunction * std::abs(gate.value);
      return {y.value * g, y.error * (std::abs(g) + off) + std::abs(y.value) * off};
    }
    if (*c_.act) y = {activated(c_.act, y.value), kSlope * y.error + kFunction * std::abs(y.value)};
    const auto at = static_cast<size_t>(r * out + j);
    if (c_.gate) {
      const double gate = values_.at("g").floats()[static_cast<size_t>(r / kTokens * out + j)];
      y = {y.value * gate, std::abs(gate) * (y.error + 4 * 0x1p-24 * std::abs(y.value))};
    }
    if (c_.residual) y.value += values_.at("r").floats()[at], y.error += 0x1p-23 * (std::abs(y.value) + std::abs(values_.at("r").floats()[at]));
    return y;
  }

  const Float8Case c_;
  const DType dtype_;
  const double sums_;
  std::map<std::string, Tensor> values_;
  Tensor floats_;  // of a weight that is stored in 8 bits
};

}  // namespace vivace
