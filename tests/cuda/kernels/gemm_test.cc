// GEMMs and convolutions on the host against the oracle.
#include "backends/cuda/kernels/gemm.h"

#include "tensor/half.h"
#include "testing.h"

namespace vivace::cuda {
namespace {

// Of a sum of `terms` products whose sizes add up to `size`, in float32; the epilogue's functions at most double it.
double sum_error(double terms, double size) { return 2 * (terms + 8) * 0x1p-24 * (1 + size); }

struct LinearCase {
  int64_t images, tokens, columns, k;
  DType dtype, bias_dtype;
  bool bias, residual, gate;
  const char* act;
  bool geglu = false, plain = false;
};

int activation(std::string_view act) {
  return act == "silu" ? kSilu : act == "gelu" ? kGelu : act == "gelu_tanh" ? kGeluTanh : act == "quick_gelu" ? kQuickGelu : kIdentity;
}

// The rows of w as a GEGLU's kernel wants them.
Tensor in_kernel_order(const Tensor& w) {
  Tensor y = w.clone();
  const size_t bytes = w.bytes() / static_cast<size_t>(w.dim(0));
  for (int64_t r = 0; r < w.dim(0); ++r)
    std::memcpy(static_cast<char*>(y.data()) + static_cast<size_t>(r) * bytes,
                static_cast<const char*>(w.data()) + static_cast<size_t>(geglu_row(r, w.dim(0))) * bytes, bytes);
  return y;
}

void check_linear(const LinearCase& c) {
  const int64_t rows = c.images * c.tokens, out = c.geglu ? c.columns / 2 : c.columns;
  const Tensor x = draw({c.images, c.tokens, c.k}, c.dtype, 1), w = draw({c.columns, c.k}, c.dtype, 2, 0.2f), none;
  const Tensor bias = c.bias ? draw({c.columns}, c.bias_dtype, 3) : none, residual = c.residual ? draw({c.images, c.tokens, out}, c.dtype, 4) : none;
  const Tensor gate = c.gate ? draw({c.images, 1, out}, c.bias_dtype, 5) : none, laid = c.geglu ? in_kernel_order(w) : w;
  Tensor y({c.images, c.tokens, out}, c.dtype);
  const GemmArguments a{.x = x.data(),
                        .w = laid.data(),
                        .y = y.data(),
                        .bias = bias.data(),
                        .gate = gate.data(),
                        .residual = residual.data(),
                        .rows = rows,
                        .rows_per_image = c.tokens,
                        .x_pitch = c.k,
                        .w_pitch = c.k,
                        .w_step = 1,
                        .y_pitch = out,
                        .residual_pitch = out,
                        .gate_pitch = out,
                        .columns = static_cast<int>(c.columns),
                        .k = static_cast<int>(c.k),
                        .act = c.geglu && !*c.act ? kGelu : activation(c.act)};
  const GemmTypes types{.x = c.dtype, .y = c.dtype, .bias = c.bias_dtype, .geglu = c.geglu, .plain = c.plain};
  ASSERT_EQ(refuse_gemm(a, types), "");
  run_in_any_order(y, make_gemm(a, types));
  const Op op = c.geglu ? Op::geglu_linear : Op::linear;
  const Attrs attrs{{"act", std::string(c.act)}};
  const auto inputs = [&](auto of) {
    return c.geglu ? std::vector<Tensor>{of(x), of(w), of(bias)} : std::vector<Tensor>{of(x), of(w), of(bias), of(residual), none, of(gate)};
  };
  const Tensor wanted = oracle(op, inputs([](const Tensor&t) { return t; }), attrs), size = oracle(op, inputs(absolute));
  expect_close(y, wanted, [&](int64_t i) { return sum_error(static_cast<double>(c.k), size.floats()[static_cast<size_t>(i)]); });
}

TEST(CudaGemm, Linear) {
  constexpr DType f32 = DType::float32, bf = DType::bfloat16, half = DType::float16;
  check_linear({1, 70, 80, 96, bf, f32, true, false, false, ""});
  check_linear({2, 9, 24, 40, bf, f32, true, true, true, "gelu_tanh"});
  check_linear({1, 5, 17, 37, bf, f32, true, true, false, "silu"});  // nothing is aligned
  check_linear({1, 33, 40, 64, half, half, true, false, true, "quick_gelu"});
  check_linear({1, 20, 48, 64, bf, f32, true, false, false, "", true});
  check_linear({1, 7, 96, 32, bf, f32, false, false, false, "silu", true});
  check_linear({2, 9, 70, 37, f32, f32, true, true, true, "gelu"});
  check_linear({1, 5, 48, 20, f32, f32, true, false, false, "", true});
  check_linear({1, 5, 20, 36, bf, f32, true, true, false, "", false, true});
}

TEST(CudaGemm, LargeTiles) {
  // As many blocks as the large tile asks for, of which a few are enough here: the last ones, which are not whole.
  const int64_t rows = 1500, columns = 1032, k = 64;
  const Tensor x = draw({1, rows, k}, DType::bfloat16, 1), w = draw({columns, k}, DType::bfloat16, 2);
  Tensor y({1, rows, columns}, DType::bfloat16);
  const GemmArguments a{.x = x.data(),
                        .w = w.data(),
                        .y = y.data(),
                        .rows = rows,
                        .rows_per_image = rows,
                        .x_pitch = k,
                        .w_pitch = k,
                        .w_step = 1,
                        .y_pitch = columns,
                        .columns = static_cast<int>(columns),
                        .k = static_cast<int>(k)};
  const auto call = make_gemm(a, {.x = DType::bfloat16, .y = DType::bfloat16, .bias = DType::float32});
  EXPECT_EQ(call.launch.function, "gemm<bf16, bf16, float, 128, 128, 64, 32, false, true, false>");
  host_cuda::run(call, 1);
  for (int64_t r : {int64_t{0}, int64_t{127}, int64_t{128}, int64_t{1029}, rows - 1})
    for (int64_t c = 0; c < columns; ++c) {
      double sum = 0, size = 0;
      for (int64_t i = 0; i < k; ++i) {
        const double product =
            static_cast<double>(static_cast<float>(x.as<vivace::bf16>()[r * k + i])) * static_cast<float>(w.as<vivace::bf16>()[c * k + i]);
        sum += product;
        size += std::abs(product);
      }
      ASSERT_NEAR(static_cast<float>(y.as<vivace::bf16>()[r * columns + c]), sum, unit(DType::bfloat16) * std::abs(sum) + sum_error(64, size))
          << r << ", " << c;
    }
}

// Rows of bytes, `x_pitch` apart, by those of w: what the kernel makes of them, with a scale a row of each.
GemmArguments narrow_arguments(const void* x, int64_t x_pitch, const Tensor& w, const Tensor& bias, const Tensor& row_scales, const Tensor& scales,
                               Tensor& y, bool geglu) {
  const int64_t rows = row_scales.numel(), out = y.dim(-1);
  return {.x = x,
          .w = w.data(),
          .y = y.data(),
          .bias = bias.data(),
          .row_scales = row_scales.as<float>(),
          .scales = scales.as<float>(),
          .rows = rows,
          .rows_per_image = rows,
          .x_pitch = x_pitch,
          .w_pitch = w.dim(1),
          .w_step = 1,
          .y_pitch = out,
          .residual_pitch = out,
          .columns = static_cast<int>(w.dim(0)),
          .k = static_cast<int>(w.dim(1)),
          .act = geglu ? kGelu : kIdentity};
}

// Quantised rows times rows of bytes: the sums are exact, so only the scales' products round.
void check_int8(int64_t rows, int64_t columns, int64_t k, DType dtype, bool geglu) {
  const int64_t padded = (k + 3) / 4 * 4, out = geglu ? columns / 2 : columns;
  std::vector<uint8_t> x(static_cast<size_t>(rows * padded), 128);
  Tensor w({columns, k}, DType::int8);
  for (int64_t i = 0; i < rows * padded; ++i)
    if (i % padded < k) x[static_cast<size_t>(i)] = static_cast<uint8_t>(1 + (i * 37 + i / 5) % 255);
  for (int64_t i = 0; i < w.numel(); ++i) w.as<int8_t>()[i] = static_cast<int8_t>(i * 29 + i / 7);
  const Tensor row_scales = absolute(draw({rows}, DType::float32, 1, 0.01f)), scales = absolute(draw({columns}, DType::float32, 2, 0.01f));
  const Tensor bias = draw({columns}, DType::float32, 3), residual = draw({1, rows, out}, dtype, 4), laid = geglu ? in_kernel_order(w) : w;
  Tensor y({1, rows, out}, dtype);
  GemmArguments a = narrow_arguments(x.data(), padded, laid, bias, row_scales, scales, y, geglu);
  if (!geglu) a.residual = residual.data();
  run_in_any_order(y, make_gemm(a, {.x = DType::uint8, .y = dtype, .bias = DType::float32, .geglu = geglu}));
  Tensor floats({1, rows, k}, DType::float32);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < k; ++i)
      floats.as<float>()[r * k + i] = static_cast<float>(x[static_cast<size_t>(r * padded + i)] - 128) * row_scales.floats()[static_cast<size_t>(r)];
  const std::vector<Tensor> inputs = geglu ? std::vector<Tensor>{floats, w.to(DType::float32), bias, {}, scales}
                                           : std::vector<Tensor>{floats, w.to(DType::float32), bias, residual, scales};
  // The oracle takes the dequantised weight: its op wants bytes where there are scales.
  std::vector<Tensor> plain = inputs;
  plain[1] = plain[1].clone();
  for (int64_t i = 0; i < w.numel(); ++i) plain[1].as<float>()[i] *= scales.floats()[static_cast<size_t>(i / k)];
  plain[4] = {};
  const Op op = geglu ? Op::geglu_linear : Op::linear;
  std::vector<Tensor> sizes;
  for (const Tensor& t : plain) sizes.push_back(absolute(t));
  const Tensor wanted = oracle(op, plain), size = oracle(op, sizes);
  expect_close(y, wanted, [&](int64_t i) { return sum_error(static_cast<double>(k), size.floats()[static_cast<size_t>(i)]); });
}

TEST(CudaGemm, Int8) {
  check_int8(70, 72, 128, DType::bfloat16, false);
  check_int8(5, 20, 37, DType::bfloat16, false);
  check_int8(20, 48, 96, DType::bfloat16, true);
  check_int8(33, 24, 64, DType::float32, false);
}

// Rows of float8: every product is exact.
void check_float8(int64_t rows, int64_t columns, int64_t k, DType dtype, bool geglu) {
  const int64_t padded = (k + 3) / 4 * 4, out = geglu ? columns / 2 : columns;
  const Tensor x = draw({1, rows, padded}, DType::float8_e4m3, 1, 100), w = draw({columns, k}, DType::float8_e4m3, 2, 100);
  const Tensor row_scales = absolute(draw({rows}, DType::float32, 3, 0.01f)), scales = absolute(draw({columns}, DType::float32, 4, 0.01f));
  const Tensor bias = draw({columns}, DType::float32, 5), laid = geglu ? in_kernel_order(w) : w;
  Tensor y({1, rows, out}, dtype), floats({1, rows, k}, DType::float32), meant = w.to(DType::float32).clone();
  const GemmArguments a = narrow_arguments(x.data(), padded, laid, bias, row_scales, scales, y, geglu);
  run_in_any_order(y, make_gemm(a, {.x = DType::float8_e4m3, .y = dtype, .bias = DType::float32, .geglu = geglu}));
  for (int64_t i = 0; i < rows * k; ++i)
    floats.as<float>()[i] = static_cast<float>(x.as<f8e4m3>()[i / k * padded + i % k]) * row_scales.as<float>()[i / k];
  for (int64_t i = 0; i < meant.numel(); ++i) meant.as<float>()[i] *= scales.as<float>()[i / k];
  const Op op = geglu ? Op::geglu_linear : Op::linear;
  const Tensor wanted = oracle(op, {floats, meant, bias}), size = oracle(op, {absolute(floats), absolute(meant), absolute(bias)});
  expect_close(y, wanted, [&](int64_t i) { return sum_error(static_cast<double>(k) + 4, size.floats()[static_cast<size_t>(i)]); });
}

TEST(CudaGemm, Float8) {
  check_float8(70, 72, 128, DType::bfloat16, false);
  check_float8(5, 20, 37, DType::bfloat16, false);
  check_float8(20, 48, 96, DType::bfloat16, true);
  check_float8(33, 24, 64, DType::float32, false);
}

struct ConvCase {
  int64_t images, height, width, in, out, kernel, stride;
  std::vector<int64_t> padding;
  DType dtype;
  bool everything;  // image_bias, residual, silu
  bool upsampled = false;
};

void check_conv(const ConvCase& c) {
  const Tensor x = draw({c.images, c.height, c.width, c.in}, c.dtype, 1), w = draw({c.out, c.in, c.kernel, c.kernel}, c.dtype, 2, 0.3f), none;
  const Tensor bias = draw({c.out}, DType::float32, 3);
  const Attrs attrs = c.upsampled ? Attrs{} : Attrs{{"stride", c.stride}, {"padding", c.padding}, {"act", std::string(c.everything ? "silu" : "")}};
  const Op op = c.upsampled ? Op::upsample_conv2d : Op::conv2d;
  const Shape result = oracle(op, {x, w, bias}, attrs).shape();
  const Tensor image_bias = c.everything ? draw({c.images, c.out}, DType::float32, 4) : none,
               residual = c.everything ? draw(result, c.dtype, 5) : none;
  const Tensor patches = oracle(Op::transpose, {w}, {{"perm", std::vector<int64_t>{0, 2, 3, 1}}}).to(c.dtype);
  Tensor y(result, c.dtype);
  const int64_t k = c.kernel * c.kernel * c.in;
  const GemmArguments a{.x = x.data(),
                        .w = patches.data(),
                        .y = y.data(),
                        .bias = bias.data(),
                        .image_bias = image_bias.data(),
                        .residual = residual.data(),
                        .rows = result[0] * result[1] * result[2],
                        .rows_per_image = result[1] * result[2],
                        .w_pitch = k,
                        .w_step = 1,
                        .y_pitch = c.out,
                        .residual_pitch = c.out,
                        .image_bias_pitch = c.out,
                        .columns = static_cast<int>(c.out),
                        .k = static_cast<int>(k),
                        .act = c.everything ? kSilu : kIdentity,
                        .height = static_cast<int>(c.height),
                        .width = static_cast<int>(c.width),
                        .channels = static_cast<int>(c.in),
                        .out_height = static_cast<int>(result[1]),
                        .out_width = static_cast<int>(result[2]),
                        .kernel_height = static_cast<int>(c.kernel),
                        .kernel_width = static_cast<int>(c.kernel),
                        .stride = static_cast<int>(c.stride),
                        .top = static_cast<int>(c.padding[0]),
                        .left = static_cast<int>(c.padding[1]),
                        .upsample = c.upsampled};
  run_in_any_order(y, make_gemm(a, {.x = c.dtype, .y = c.dtype, .bias = DType::float32, .convolution = true}));
  const auto inputs = [&](auto of) {
    return c.upsampled ? std::vector<Tensor>{of(x), of(w), of(bias)} : std::vector<Tensor>{of(x), of(w), of(bias), of(image_bias), of(residual)};
  };
  Attrs without = attrs;
  if (!c.upsampled) without.set("act", "");
  const Tensor wanted = oracle(op, inputs([](const Tensor&t) { return t; }), attrs), size = oracle(op, inputs(absolute), without);
  expect_close(y, wanted, [&](int64_t i) { return sum_error(static_cast<double>(k), size.floats()[static_cast<size_t>(i)]); });
}

TEST(CudaGemm, Convolution) {
  for (DType dtype : {DType::bfloat16, DType::float32}) {
    check_conv({2, 6, 5, 16, 24, 3, 1, {1, 1, 1, 1}, dtype, true});
    check_conv({1, 6, 7, 8, 12, 3, 2, {0, 0, 1, 1}, dtype, false});
    check_conv({1, 5, 5, 3, 9, 3, 1, {1, 1, 1, 1}, dtype, false});  // chunks of several pixels
    check_conv({1, 4, 3, 8, 20, 3, 1, {1, 1, 1, 1}, dtype, false, true});
    check_conv({1, 7, 6, 8, 8, 5, 1, {2, 2, 2, 2}, dtype, true});
  }
}

TEST(CudaGemm, MatricesOfABatchAndTransposedOnes) {
  const Tensor a = draw({3, 5, 20}, DType::float32, 1), b = draw({3, 20, 7}, DType::float32, 2);
  Tensor y({3, 5, 7}, DType::float32);
  const GemmArguments arguments{.x = a.data(),
                                .w = b.data(),
                                .y = y.data(),
                                .rows = 5,
                                .x_pitch = 20,
                                .w_pitch = 1,
                                .w_step = 7,
                                .y_pitch = 7,
                                .x_batch = 100,
                                .w_batch = 140,
                                .y_batch = 35,
                                .columns = 7,
                                .k = 20};
  const GemmTypes types{.x = DType::float32, .y = DType::float32, .bias = DType::float32, .matrices = 3};
  run_in_any_order(y, make_gemm(arguments, types));
  expect_close(y, oracle(Op::matmul, {a, b}), 20 * 40 * 0x1p-24);
}

TEST(CudaGemm, Refusals) {
  GemmArguments a{.rows = 4, .w_step = 1, .columns = 24, .k = 16};
  EXPECT_EQ(refuse_gemm(a, {.x = DType::bfloat16, .geglu = true}), "GEGLU of 12 features, not a multiple of 8");
  a.w_step = 4;
  EXPECT_EQ(refuse_gemm(a, {.x = DType::bfloat16}), "a transposed weight");
  EXPECT_EQ(refuse_gemm(a, {.x = DType::float32}), "");
  EXPECT_EQ(refuse_gemm(a, {.x = DType::uint8, .plain = true}), "quantised rows without tensor cores");
  EXPECT_EQ(refuse_gemm(a, {.x = DType::float8_e4m3, .plain = true}), "quantised rows without tensor cores");
}

}  // namespace
}  // namespace vivace::cuda
