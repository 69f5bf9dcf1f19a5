// Linears in 8 bits against their meaning in float64 (the decomposition, in which quantised rows are the values before their rounding). The tolerance
// follows from the roundings: each is taken as uniform over its step, and errors of the terms add as a random walk.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "backends/cpu/device.h"
#include "backends/cpu/kernels/norm/quantize.h"
#include "backends/ref/device.h"
#include "ops/decompose.h"
#include "run_plan.h"
#include "tensor/narrow_weight.h"
#include "vivace/generator.h"

namespace vivace {
namespace {

using Tensors = std::map<std::string, Tensor>;

// What gives the linear its rows.
enum class From { floats, quantize_rows, layer_norm, geglu };

struct QuantizedCase {
  const char* name;
  From from;
  Attrs attrs;                    // of the linear
  DType stored = DType::float32;  // of its weight
  bool geglu = false, residual = false;
  int64_t features = 70;  // not a multiple of 4
  friend void PrintTo(const QuantizedCase& c, std::ostream* out) { *out << c.name; }
};

const Attrs kDynamic{{"compute", "int8_dynamic"}}, kDynamicRows{{"compute", "int8_dynamic"}, {"to", "float32"}};
const Attrs kRotated{{"compute", "int8_dynamic"}, {"hadamard", int64_t{32}}},
    kRotatedRows{{"compute", "int8_dynamic"}, {"hadamard", int64_t{32}}, {"to", "float32"}};
const Attrs kFloat8{{"compute", "float8_dynamic"}}, kFloat8Rows{{"compute", "float8_dynamic"}, {"to", "float32"}};
const QuantizedCase kCases[] = {
    {"dynamic", From::floats, kDynamic},
    {"dynamic_separate_epilogue",
     From::floats,
     {{"compute", "int8_dynamic"}, {"epilogue", "separate"}, {"act", "silu"}},
     DType::float32,
     false,
     true},
    {"dynamic_stored_int8", From::floats, kDynamic, DType::int8},
    {"dynamic_geglu", From::floats, kDynamic, DType::float32, true},
    {"dynamic_geglu_separate_epilogue", From::floats, {{"compute", "int8_dynamic"}, {"epilogue", "separate"}}, DType::float32, true},
    {"rows", From::quantize_rows, kDynamicRows, DType::float32, false, true},
    {"rows_of_layer_norm", From::layer_norm, kDynamicRows},
    {"rows_of_layer_norm_geglu", From::layer_norm, kDynamicRows, DType::int8, true},
    {"rows_of_geglu", From::geglu, kDynamicRows},
    {"rotated", From::floats, kRotated, DType::float32, false, true, 96},
    {"rotated_geglu", From::floats, kRotated, DType::float32, true, false, 96},
    {"rotated_rows", From::quantize_rows, kRotatedRows, DType::float32, false, false, 96},
    {"rotated_rows_of_layer_norm", From::layer_norm, kRotatedRows, DType::float32, false, false, 96},
    {"rotated_rows_of_geglu", From::geglu, kRotatedRows, DType::float32, false, false, 96},
    {"float8", From::floats, kFloat8, DType::float32, false, true},
    {"float8_stored_geglu", From::floats, kFloat8, DType::float8_e4m3, true},
    {"float8_rows", From::quantize_rows, kFloat8Rows},
    {"float8_rows_of_layer_norm", From::layer_norm, kFloat8Rows, DType::float32, false, true},
    {"float8_rows_of_layer_norm_geglu", From::layer_norm, kFloat8Rows, DType::float32, true},
    {"float8_rows_of_geglu", From::geglu, kFloat8Rows},
    {"int8_weights", From::floats, {{"weight_storage", "int8"}}},
    {"int8_weights_decoded_first", From::floats, {{"weight_storage", "int8"}, {"decode", "separate"}}, DType::float32, false, true},
    {"int8_weights_stored", From::floats, {}, DType::int8},
    {"float8_weights", From::floats, {{"weight_storage", "float8_e4m3"}}},
    {"float8_weights_geglu_decoded_first", From::floats, {{"weight_storage", "float8_e4m3"}, {"decode", "separate"}}, DType::float32, true},
    {"float8_weights_stored", From::floats, {}, DType::float8_e4m3, true},
};

constexpr int64_t kRows = 13, kOut = 36;

// The rows that the linear reads; `quantized`: as they are in the graph, else as floats.
Value rows_of(Builder& b, const QuantizedCase& c, bool quantized) {
  const Value x = b.input("x", b.dtype(), {1, kRows, c.from == From::geglu ? 2 * c.features : c.features});
  Attrs attrs;
  if (quantized) attrs.set("quantize", std::string(dtype_name(quantized_rows(c.attrs.text("compute")))));
  if (quantized && c.attrs.has("hadamard")) attrs.set("hadamard", c.attrs.integer("hadamard"));
  switch (c.from) {
    case From::floats:
      return x;
    case From::quantize_rows:
      return quantized ? b.emit(Op::quantize_rows, {x}, attrs) : x;
    case From::geglu:
      return b.emit(Op::geglu, {x}, attrs);
    case From::layer_norm:
      attrs.set("eps", 1e-5);
      return b.emit(Op::layer_norm, {x, b.weight("g", {c.features}), b.weight("h", {c.features})}, attrs);
  }
  return x;
}

Graph graph_of(const QuantizedCase& c) {
  Builder b(DType::float32, [&](const std::string& name) { return name == "w" ? c.stored : DType::float32; });
  const Value rows = rows_of(b, c, true), w = b.weight("w", {c.geglu ? 2 * kOut : kOut, c.features});
  const Value scale = c.stored == DType::float32 ? Value{} : b.weight("s", {c.geglu ? 2 * kOut : kOut});
  const Value residual = c.residual ? b.input("r", b.dtype(), {1, kRows, kOut}) : Value{};
  b.output("y", b.emit(c.geglu ? Op::geglu_linear : Op::linear, {rows, w, b.weight("b", {c.geglu ? 2 * kOut : kOut}), residual, scale}, c.attrs));
  return b.take();
}

Tensor run(Graph graph, const std::shared_ptr<Device>& device, const Tensors& values) {
  return run_plan(std::make_shared<const Plan>(compile(std::move(graph), *device, {})), device, values);
}

Tensor normal(uint64_t seed, const Shape& shape, float scale = 1) {
  Tensor t = Generator(seed).randn(shape);
  for (float& x : t.floats()) x *= scale;
  return t;
}

// w as the checkpoint stores it, with the scales; the floats that it stands for.
void store_weight(const Tensor& floats, DType stored, Tensors& values, Tensor& meant) {
  const int64_t n = floats.dim(0), k = floats.dim(1);
  values["w"] = meant = floats;
  if (stored == DType::float32) return;
  Tensor w({n, k}, stored), s({n}, DType::float32);
  meant = floats.clone();
  for (int64_t r = 0; r < n; ++r) {
    const float* x = floats.as<float>() + r * k;
    const NarrowRow row(stored, std::max(absmax(x, k), largest_pair(x, k)));
    s.floats()[static_cast<size_t>(r)] = row.scale();
    for (int64_t i = r * k; i < (r + 1) * k; ++i) {
      const float x = floats.as<float>()[i];
      if (stored == DType::int8)
        w.as<int8_t>()[i] = row.int8(x);
      else
        w.as<f8e4m3>()[i] = row.float8(x);
      meant.as<float>()[i] = row.scale() * (stored == DType::int8 ? static_cast<float>(w.as<int8_t>()[i]) : static_cast<float>(w.as<f8e4m3>()[i]));
    }
  }
  values["w"] = w;
  values["s"] = s;
}

// As rows are quantised: turned in blocks, where the case says so.
Tensor as_quantized(const QuantizedCase& c, const Tensor& rows) {
  Tensor turned = rows.clone();
  if (const int64_t block = c.attrs.integer("hadamard"); block > 0) cpu::hadamard_blocks(rows.as<float>(), rows.numel(), block, turned.as<float>());
  return turned;
}

// Variance of the error of one product of a row with a row of w, both as they are quantised.
double variance(const QuantizedCase& c, const float* a, const float* w) {
  const DType rows = quantized_rows(c.attrs.text("compute"));
  const bool bytes = rows == DType::uint8, kept = c.stored != DType::float32;
  const DType storage = bytes || c.attrs.text("weight_storage") == "int8" ? DType::int8 : DType::float8_e4m3;
  const auto [least, largest] = std::minmax_element(a, a + c.features);
  const double step_a = bytes ? (std::max(*largest, 0.f) - std::min(*least, 0.f)) / 254.9 : NarrowRow(rows, absmax(a, c.features)).scale(),
               step_w = kept ? 0 : NarrowRow(storage, std::max(absmax(w, c.features), bytes ? largest_pair(w, c.features) : 0.f)).scale();
  // Bytes: half a step at most. float8_e4m3: half of the last of three fraction bits, 2^-4 of the value.
  const auto error = [](DType dtype, double value, double step) {
    return dtype == DType::float8_e4m3 ? std::max(std::abs(value) * 0x1p-4, step * 0x1p-10) : dtype == DType::float32 ? 0 : step / 2;
  };
  double sum = 0;
  for (int64_t i = 0; i < c.features; ++i) {
    const double error_a = error(rows, a[i], step_a), error_w = kept ? 0 : error(storage, w[i], step_w);
    sum += (static_cast<double>(w[i]) * w[i] * error_a * error_a + static_cast<double>(a[i]) * a[i] * error_w * error_w +
            error_a * error_a * error_w * error_w) /
           3;
  }
  return sum;
}

class QuantizedOps : public testing::TestWithParam<QuantizedCase> {};

TEST_P(QuantizedOps, CpuMatchesTheMeaning) {
  const QuantizedCase& c = GetParam();
  const int64_t n = c.geglu ? 2 * kOut : kOut;
  Tensors values{{"x", normal(1, {1, kRows, c.from == From::geglu ? 2 * c.features : c.features})},
                 {"b", normal(3, {n})},
                 {"r", normal(4, {1, kRows, kOut})},
                 {"g", normal(5, {c.features})},
                 {"h", normal(6, {c.features})}};
  Tensor w;
  store_weight(normal(2, {n, c.features}, 0.1f), c.stored, values, w);
  Builder b(DType::float32);
  b.output("y", rows_of(b, c, false));
  const Tensor rows = run(decompose_all(b.take()), ref::device(), values);
  const Tensor got = run(graph_of(c), cpu::device(), values), want = run(decompose_all(graph_of(c)), ref::device(), values);

  // Inside a GEGLU an error of either half is multiplied by the other, and by GELU's slope, which is at most 1.13.
  double largest = 1;
  if (c.geglu)
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t j = 0; j < n; ++j) {
        double y = values.at("b").floats()[static_cast<size_t>(j)];
        for (int64_t i = 0; i < c.features; ++i) y += static_cast<double>(rows.as<float>()[r * c.features + i]) * w.as<float>()[j * c.features + i];
        largest = std::max(largest, 2 * 1.13 * std::abs(y));
      }
  const Tensor turned = as_quantized(c, rows), turned_w = as_quantized(c, w);
  const double slope = c.attrs.has("act") ? 1.1 : largest;  // silu's slope is at most 1.1
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t j = 0; j < kOut; ++j) {
      double error = variance(c, turned.as<float>() + r * c.features, turned_w.as<float>() + j * c.features);
      if (c.geglu) error = std::max(error, variance(c, turned.as<float>() + r * c.features, turned_w.as<float>() + (j + kOut) * c.features));
      const double y = want.as<float>()[r * kOut + j];
      // Six deviations, and float32's rounding of sums of some tens of terms of about 1.
      ASSERT_NEAR(got.as<float>()[r * kOut + j], y, slope * (6 * std::sqrt(error) + 1e-5)) << "row " << r << ", column " << j;
    }
}

INSTANTIATE_TEST_SUITE_P(Cases, QuantizedOps, testing::ValuesIn(kCases), [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace vivace
