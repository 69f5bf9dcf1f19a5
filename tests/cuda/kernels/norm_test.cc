// Norms, softmax and rotations on the host against the oracle.
#include "backends/cuda/kernels/norm.h"

#include "tensor/narrow_weight.h"
#include "testing.h"

namespace vivace::cuda {
namespace {

// A norm's result is a sum of a few float32 roundings of values of about its own size; its statistics are sums of `terms`.
double norm_error(int64_t terms) { return (8 + static_cast<double>(terms)) * 0x1p-24 * 8; }

struct RowCase {
  RowFunction function;
  int64_t images, tokens, columns, heads;
  DType x, weights, y;
  bool weight, bias, by_image, table;
  int hadamard = 0;
};

RowNormArguments arguments_of(const RowCase& c) {
  return {.rows = c.images * c.tokens,
          .x_pitch = c.columns * c.heads * (c.function == kGeglu ? 2 : 1),
          .y_pitch = c.columns * c.heads,
          .weight_pitch = c.by_image ? c.columns : 0,
          .bias_pitch = c.by_image ? c.columns : 0,
          .tokens = c.tokens,
          .columns = static_cast<int>(c.columns),
          .heads = static_cast<int>(c.heads),
          .function = c.function,
          .hadamard = c.hadamard,
          .eps = 1e-5f};
}

void check_rows(const RowCase& c) {
  RowNormArguments a = arguments_of(c);
  const Shape vector = c.by_image ? Shape{c.images, 1, c.columns} : Shape{c.columns};
  const Tensor x = draw({c.images, c.tokens, a.x_pitch}, c.x, 1, 3), weight = c.weight ? draw(vector, c.weights, 2) : Tensor(),
               bias = c.bias ? draw(vector, c.weights, 3) : Tensor(), table = c.table ? draw({c.tokens, c.columns}, DType::float32, 4) : Tensor();
  Tensor y({c.images, c.tokens, a.y_pitch}, c.y);
  a.x = x.data();
  a.weight = weight.data();
  a.bias = bias.data();
  a.table = table.as<float>();
  a.y = y.data();
  run_in_any_order(y, make_row_norm(a, c.x, c.weights, c.y));
  const Attrs attrs{{"eps", 1e-5}, {"heads", c.heads}};
  const Tensor wanted = c.function == kGeglu     ? oracle(Op::geglu, {x})
                        : c.function == kRmsNorm ? oracle(Op::rms_norm, {x, weight, table}, attrs)
                                                 : oracle(Op::layer_norm, {x, weight, bias}, attrs);
  expect_close(y, wanted, norm_error(c.columns));
}

TEST(CudaNorms, Rows) {
  constexpr DType f32 = DType::float32, bf = DType::bfloat16, half = DType::float16;
  check_rows({kLayerNorm, 2, 3, 40, 1, f32, f32, f32, true, true, false, false});
  check_rows({kLayerNorm, 1, 3, 37, 1, bf, f32, bf, false, false, false, false});
  check_rows({kLayerNorm, 2, 5, 64, 1, bf, bf, bf, true, true, true, false});
  check_rows({kLayerNorm, 1, 3, 1300, 1, bf, f32, bf, true, true, false, false});
  check_rows({kLayerNorm, 1, 3, 1284, 1, f32, f32, f32, true, true, false, false});
  check_rows({kRmsNorm, 2, 3, 24, 3, half, half, half, true, false, false, false});
  check_rows({kRmsNorm, 2, 5, 20, 2, bf, f32, bf, true, false, false, true});
  check_rows({kGeglu, 1, 5, 48, 1, f32, f32, f32, false, false, false, false});
}

// The bytes times the scales are the values to half a step of the scale.
void check_quantized(const RowCase& c, const Tensor& wanted, Tensor x) {
  RowNormArguments a = arguments_of(c);
  const int64_t rows = a.rows, padded = (c.columns + 3) / 4 * 4;
  Tensor y({rows, padded + 4}, DType::uint8);
  int32_t bad = -1;
  a.x = x.data();
  a.y = y.data();
  a.y_pitch = padded;
  a.scales = reinterpret_cast<float*>(y.as<uint8_t>() + rows * padded);
  a.bad_value = &bad;
  a.step = 7;
  run_in_any_order(y, make_row_norm(a, c.x, DType::float32, DType::uint8));
  EXPECT_EQ(bad, -1);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < padded; ++i) {
      const int q = y.as<uint8_t>()[r * padded + i] - 128;
      if (i >= c.columns) {
        EXPECT_EQ(q, 0);
      } else {
        EXPECT_NEAR(q * a.scales[r], wanted.floats()[static_cast<size_t>(r * c.columns + i)], 0.5001 * a.scales[r] + norm_error(c.columns));
      }
    }
  // A row that holds what 8 bits cannot pass on.
  if (c.function != kCopyRow) return;
  x = x.to(DType::float32).clone();
  x.floats()[static_cast<size_t>(c.columns + 1)] = INFINITY;
  x = x.to(c.x);
  a.x = x.data();
  host_cuda::run(make_row_norm(a, c.x, DType::float32, DType::uint8), 1);
  EXPECT_EQ(bad, 7);
  EXPECT_TRUE(std::isnan(a.scales[1]));
  EXPECT_FALSE(std::isnan(a.scales[0]));
  EXPECT_EQ(y.as<uint8_t>()[padded + 2], 128);
}

TEST(CudaNorms, QuantizedRows) {
  for (const auto& [dtype, columns] :
       {std::pair{DType::float32, int64_t{37}}, std::pair{DType::bfloat16, int64_t{64}}, std::pair{DType::bfloat16, int64_t{1100}}}) {
    const Tensor x = draw({1, 5, columns}, dtype, 1), wide = draw({1, 5, 2 * columns}, dtype, 2);
    RowCase c{kCopyRow, 1, 5, columns, 1, dtype, DType::float32, DType::uint8, false, false, false, false};
    check_quantized(c, x.to(DType::float32), x);
    c.function = kLayerNorm;
    check_quantized(c, oracle(Op::layer_norm, {x}, {{"eps", 1e-5}}), x);
    c.function = kGeglu;
    check_quantized(c, oracle(Op::geglu, {wide}), wide);
  }
}

TEST(CudaNorms, QuantizedRowsAreTurned) {
  for (const auto& [dtype, columns, block] : {std::tuple{DType::float32, int64_t{48}, 16}, std::tuple{DType::bfloat16, int64_t{1280}, 256}}) {
    const Tensor x = draw({1, 5, columns}, dtype, 1);
    RowCase c{kCopyRow, 1, 5, columns, 1, dtype, DType::float32, DType::uint8, false, false, false, false};
    c.hadamard = block;
    const Attrs attrs{{"block", int64_t{block}}};
    check_quantized(c, oracle(Op::hadamard, {x}, attrs), x);
    c.function = kLayerNorm;
    check_quantized(c, oracle(Op::hadamard, {oracle(Op::layer_norm, {x}, {{"eps", 1e-5}})}, attrs), x);
  }
}

// The bits of tensor/narrow_weight.h where rows are copied, and of a norm's own values to what the norm may be off.
void check_float8_rows(RowFunction function, DType dtype, int64_t columns) {
  const RowCase c{function, 1, 5, columns, 1, dtype, DType::float32, DType::float8_e4m3, false, false, false, false};
  RowNormArguments a = arguments_of(c);
  const int64_t rows = a.rows, padded = (columns + 3) / 4 * 4;
  Tensor x = draw({1, rows, a.x_pitch}, DType::float32, 1), y({rows, padded + 4}, DType::float8_e4m3);
  std::fill_n(x.as<float>(), a.x_pitch, 0.f);
  x.as<float>()[2 * a.x_pitch + 3] = -700;  // the rest is left few bits
  x = x.to(dtype);
  int32_t bad = -1;
  a.x = x.data(), a.y = y.data(), a.y_pitch = padded, a.bad_value = &bad, a.step = 7;
  a.scales = reinterpret_cast<float*>(y.as<uint8_t>() + rows * padded);
  run_in_any_order(y, make_row_norm(a, dtype, DType::float32, DType::float8_e4m3));
  EXPECT_EQ(bad, -1);
  const Tensor wanted = function == kCopyRow ? x.to(DType::float32) : oracle(Op::layer_norm, {x}, {{"eps", 1e-5}});
  for (int64_t r = 0; r < rows; ++r) {
    const float* const row = wanted.as<float>() + r * columns;
    const NarrowRow narrow(DType::float8_e4m3, absmax(row, columns));
    if (function == kCopyRow) {
      EXPECT_EQ(a.scales[r], narrow.scale()) << r;
    }
    for (int64_t i = 0; i < padded; ++i) {
      const auto byte = y.as<f8e4m3>()[r * padded + i];
      if (i >= columns)
        ASSERT_EQ(byte.bits, 0);
      else if (function == kCopyRow)
        ASSERT_EQ(byte.bits, narrow.float8(row[i]).bits) << r << ", " << i;
      else
        ASSERT_NEAR(static_cast<float>(byte) * a.scales[r], row[i],
                    1.001 * std::max(0x1p-4f * std::abs(row[i]), 0x1p-10f * a.scales[r]) + norm_error(columns));
    }
  }
}

TEST(CudaNorms, RowsOfFloat8) {
  for (const auto& [dtype, columns] :
       {std::pair{DType::float32, int64_t{37}}, std::pair{DType::bfloat16, int64_t{64}}, std::pair{DType::bfloat16, int64_t{1100}}}) {
    check_float8_rows(kCopyRow, dtype, columns);
    check_float8_rows(kLayerNorm, dtype, columns);
  }
}

void check_group_norm(int64_t images, int64_t height, int64_t width, int64_t channels, int64_t groups, DType dtype, const char* act, float mean) {
  Tensor x = draw({images, height, width, channels}, DType::float32, 1);
  for (float& v : x.floats()) v += mean;
  x = x.to(dtype);
  const Tensor weight = draw({channels}, DType::float32, 2), bias = draw({channels}, DType::float32, 3);
  Tensor y(x.shape(), dtype);
  std::vector<float> partial(group_norm_workspace(images, height * width, static_cast<int>(groups)) / sizeof(float));
  const auto calls = make_group_norm({.x = x.data(),
                                      .weight = weight.data(),
                                      .bias = bias.data(),
                                      .y = y.data(),
                                      .partial = partial.data(),
                                      .pixels = height * width,
                                      .channels = static_cast<int>(channels),
                                      .groups = static_cast<int>(groups),
                                      .act = *act ? kSilu : kIdentity,
                                      .eps = 1e-5f},
                                     images, dtype, DType::float32);
  run_in_any_order(y, [&](unsigned seed) {
    for (const auto& call : calls) host_cuda::run(call, seed);
  });
  const Tensor wanted = oracle(Op::group_norm, {x, weight, bias}, {{"groups", groups}, {"eps", 1e-5}, {"act", std::string(act)}});
  // The mean's own rounding, in units of a deviation of about 1.
  expect_close(y, wanted, norm_error(height * width * channels / groups) + 16 * std::abs(mean) * 0x1p-24);
}

TEST(CudaNorms, Groups) {
  check_group_norm(2, 6, 5, 16, 4, DType::float32, "silu", 0);
  check_group_norm(1, 9, 9, 20, 2, DType::bfloat16, "", 0);
  check_group_norm(1, 8, 8, 24, 8, DType::float32, "", 1000);  // squares of the values themselves would leave no digit
  check_group_norm(1, 3, 3, 2100, 3, DType::bfloat16, "silu", 0);
}

TEST(CudaNorms, Softmax) {
  for (DType dtype : {DType::float32, DType::bfloat16})
    for (int64_t columns : {1, 30, 700}) {
      const Tensor x = draw({3, columns}, dtype, 1, 4);
      Tensor y({3, columns}, dtype);
      run_in_any_order(
          y, make_softmax({.x = x.data(), .y = y.data(), .rows = 3, .columns = columns, .x_pitch = columns, .y_pitch = columns}, dtype, dtype));
      expect_close(y, oracle(Op::softmax, {x}), norm_error(columns));
    }
}

TEST(CudaNorms, Rotary) {
  for (DType dtype : {DType::float32, DType::bfloat16}) {
    const Tensor x = draw({2, 5, 3 * 12}, dtype, 1), table = draw({5, 12}, DType::float32, 2);
    Tensor y(x.shape(), dtype);
    run_in_any_order(y, make_rotary({.x = x.data(),
                                     .table = table.as<float>(),
                                     .y = y.data(),
                                     .rows = 10,
                                     .x_pitch = 36,
                                     .y_pitch = 36,
                                     .tokens = 5,
                                     .columns = 12,
                                     .heads = 3},
                                    dtype));
    expect_close(y, oracle(Op::rotary, {x, table}, {{"heads", int64_t{3}}}), norm_error(2));
  }
}

}  // namespace
}  // namespace vivace::cuda
