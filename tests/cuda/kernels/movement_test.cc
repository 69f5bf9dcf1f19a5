// Movement, elementwise ops with repeated inputs, reductions and tables on the host against the oracle. What only moves is equal, bit for bit.
#include "backends/cuda/kernels/movement.h"

#include "backends/cuda/kernels/gemm.h"
#include "ops/infer.h"
#include "tensor/narrow_weight.h"
#include "testing.h"

namespace vivace::cuda {
namespace {

void expect_equal(const Tensor& y, const Tensor& wanted) {
  const Tensor got = y.to(DType::float32);
  ASSERT_EQ(got.numel(), wanted.numel());
  for (size_t i = 0; i < wanted.floats().size(); ++i) ASSERT_EQ(got.floats()[i], wanted.floats()[i]) << i;
}

// The dtype of as many bytes, and the strides in x of the transposition.
void check_transpose(const Shape& shape, const std::vector<int64_t>& perm, DType dtype) {
  const Tensor x = draw(shape, dtype, 1);
  const Tensor wanted = oracle(Op::transpose, {x}, {{"perm", perm}});
  Tensor y(wanted.shape(), dtype);
  StridedCopy copy{.in = x.data(), .out = y.data(), .sizes = y.shape(), .out_strides = dense_strides(y.shape()), .bytes = dtype_size(dtype)};
  for (int64_t p : perm) copy.in_strides.push_back(dense_strides(shape)[static_cast<size_t>(p)]);
  ASSERT_EQ(refuse_copy(copy), "");
  run_in_any_order(y, make_copy(copy));
  expect_equal(y, wanted);
}

TEST(CudaMovement, Transpose) {
  check_transpose({2, 3, 5, 7}, {0, 2, 3, 1}, DType::float32);
  check_transpose({2, 3, 4, 8}, {0, 2, 1, 3}, DType::bfloat16);
  check_transpose({2, 3, 4, 16}, {1, 0, 2, 3}, DType::float16);
  check_transpose({4, 6}, {0, 1}, DType::float32);
  const StridedCopy many{.sizes = Shape(7, 2), .in_strides = {1, 2, 4, 8, 16, 32, 64}, .out_strides = dense_strides(Shape(7, 2))};
  EXPECT_EQ(refuse_copy(many), "moves 7 dimensions, at most 6");
}

TEST(CudaMovement, CopiesAreAsWideAsTheirStridesAllow) {
  const auto function = [](Shape sizes, Shape in, size_t bytes) {
    const Shape out = dense_strides(sizes);
    return make_copy({.sizes = sizes, .in_strides = in, .out_strides = out, .bytes = bytes}).launch.function;
  };
  EXPECT_EQ(function({4, 8}, {8, 1}, 2), "strided_copy<Wide<unsigned>, unsigned>");
  EXPECT_EQ(function({4, 8}, {12, 1}, 2), "strided_copy<unsigned long long, unsigned>");
  EXPECT_EQ(function({4, 8}, {9, 1}, 2), "strided_copy<unsigned short, unsigned>");
  EXPECT_EQ(function({4, 8}, {1, 4}, 1), "strided_copy<unsigned char, unsigned>");
}

// Parts of a concatenation, a call each, into the whole.
TEST(CudaMovement, Concat) {
  const Tensor a = draw({2, 3, 8}, DType::bfloat16, 1), b = draw({2, 3, 4}, DType::bfloat16, 2);
  Tensor y({2, 3, 12}, DType::bfloat16);
  run_in_any_order(y, [&](unsigned seed) {
    for (const Tensor* part : {&a, &b})
      host_cuda::run(make_copy({.in = part->data(),
                                .out = y.as<uint16_t>() + (part == &a ? 0 : 8),
                                .sizes = part->shape(),
                                .in_strides = dense_strides(part->shape()),
                                .out_strides = {36, 12, 1},
                                .bytes = 2}),
                     seed);
  });
  expect_equal(y, oracle(Op::concat, {a, b}, {{"axis", int64_t{2}}}));
}

void check_elementwise(Op op, const Shape& a, const Shape& b, DType first, DType second, DType result, Attrs attrs = {}) {
  const bool two = op_row(op).max_inputs == 2;
  const Tensor x = op == Op::rsqrt ? absolute(draw(a, first, 1)) : draw(a, first, 1), z = two ? draw(b, second, 2) : Tensor();
  Tensor y(two ? broadcast(a, b) : a, result);
  const bool clamp = op == Op::clamp;
  run_in_any_order(y, make_elementwise({.op = elementwise(op),
                                        .in = {x.data(), z.data()},
                                        .out = y.data(),
                                        .in_shapes = {a, b},
                                        .shape = y.shape(),
                                        .in_dtypes = {first, second},
                                        .dtype = result,
                                        .a = static_cast<float>(clamp ? attrs.real("min") : attrs.real("scale", 1)),
                                        .b = static_cast<float>(clamp ? attrs.real("max") : attrs.real("shift"))}));
  if (op == Op::cast) attrs.set("to", "float32");
  const Tensor wanted = oracle(op, two ? std::vector<Tensor>{x, z} : std::vector<Tensor>{x}, attrs);
  expect_close(y, wanted, [&](int64_t i) { return 8 * 0x1p-24 * (1 + std::abs(wanted.floats()[static_cast<size_t>(i)])); });
}

TEST(CudaMovement, Elementwise) {
  constexpr DType f32 = DType::float32, bf = DType::bfloat16;
  check_elementwise(Op::add, {2, 3, 4}, {2, 3, 4}, f32, f32, f32);
  check_elementwise(Op::add, {2, 1, 4}, {3, 1}, bf, bf, bf);
  check_elementwise(Op::sub, {2, 3, 4}, {4}, f32, f32, f32);
  check_elementwise(Op::mul, {2, 3, 4}, {2, 1, 1}, bf, f32, bf);
  check_elementwise(Op::div, {5, 1}, {1, 7}, f32, f32, f32);
  for (Op op : {Op::silu, Op::gelu, Op::gelu_tanh, Op::quick_gelu, Op::relu, Op::exp, Op::rsqrt}) check_elementwise(op, {3, 50}, {}, f32, f32, f32);
  check_elementwise(Op::affine, {11}, {}, f32, f32, f32, {{"scale", 0.5}, {"shift", 2.0}});
  check_elementwise(Op::clamp, {11}, {}, f32, f32, f32, {{"min", -0.5}, {"max", 0.25}});
  check_elementwise(Op::cast, {11}, {}, f32, f32, bf);
}

Tensor ids(std::initializer_list<int32_t> values, Shape shape) { return Tensor::from(std::move(shape), std::span<const int32_t>(values)); }

TEST(CudaMovement, Gather) {
  for (DType dtype : {DType::float32, DType::bfloat16})
    for (int64_t width : {3, 8}) {
      const Tensor table = draw({5, width}, dtype, 1), chosen = ids({4, 0, 9, -1}, {2, 2});  // out of range: the nearest entry
      Tensor y({2, 2, width}, dtype);
      const auto bytes = width * static_cast<int64_t>(dtype_size(dtype));
      run_in_any_order(y,
                       make_gather({.table = table.data(), .ids = chosen.as<int>(), .out = y.data(), .rows = 4, .entries = 5, .row_bytes = bytes}));
      expect_equal(y, oracle(Op::embedding, {chosen, table}));
      const Tensor x = draw({2, 4, width}, dtype, 2), index = ids({3, 1}, {2});
      Tensor z({2, width}, dtype);
      run_in_any_order(
          z, make_gather({.table = x.data(), .ids = index.as<int>(), .out = z.data(), .rows = 2, .entries = 4, .base = 4, .row_bytes = bytes}));
      expect_equal(z, oracle(Op::gather_rows, {x, index}));
    }
}

TEST(CudaMovement, Upsample) {
  const Tensor x = draw({2, 3, 4, 6}, DType::bfloat16, 1);
  Tensor y({2, 6, 8, 6}, DType::bfloat16), odd({2, 5, 9, 6}, DType::bfloat16);
  const auto check = [&](Tensor& to, const Tensor& wanted) {
    run_in_any_order(to, make_upsample({.in = x.data(),
                                        .out = to.data(),
                                        .images = 2,
                                        .height = 3,
                                        .width = 4,
                                        .out_height = to.dim(1),
                                        .out_width = to.dim(2),
                                        .pixel_bytes = 12}));
    expect_equal(to, wanted);
  };
  check(y, oracle(Op::upsample_nearest, {x}));
  check(odd, oracle(Op::upsample_nearest, {x, Tensor::zeros({2, 5, 9, 1})}));
}

TEST(CudaMovement, Find) {
  const Tensor x = ids({1, 9, 9, 2, 7, 3, 9, 4, 5, 5, 5, 5}, {3, 4});
  Tensor y({3}, DType::int32);
  run_in_any_order(y, make_find({.ids = x.as<int>(), .out = y.as<int>(), .rows = 3, .columns = 4, .largest = 1}));
  EXPECT_EQ(std::vector<int>(y.as<int>(), y.as<int>() + 3), (std::vector<int>{1, 2, 0}));
  run_in_any_order(y, make_find({.ids = x.as<int>(), .out = y.as<int>(), .rows = 3, .columns = 4, .value = 2, .largest = 0}));
  EXPECT_EQ(std::vector<int>(y.as<int>(), y.as<int>() + 3), (std::vector<int>{3, 0, 0}));
}

TEST(CudaMovement, Reduce) {
  for (Op op : {Op::reduce_mean, Op::reduce_sum, Op::reduce_max})
    for (const std::vector<int64_t>& axes : {std::vector<int64_t>{2}, {0, 2}, {1}, {0, 1, 2}}) {
      const Tensor x = draw({3, 5, 40}, DType::float32, 1);
      const Tensor wanted = oracle(op, {x}, {{"axes", axes}});
      Tensor y(wanted.shape(), DType::float32);
      run_in_any_order(y, make_reduce(op, x.shape(), axes, x.data(), DType::float32, y.data(), DType::float32));
      expect_close(y, wanted, 600 * 600 * 0x1p-24);
    }
  const Tensor x = draw({4, 9}, DType::bfloat16, 1);
  Tensor y({4, 1}, DType::bfloat16);
  const std::vector<int64_t> axes{1};
  run_in_any_order(y, make_reduce(Op::reduce_mean, x.shape(), axes, x.data(), DType::bfloat16, y.data(), DType::bfloat16));
  expect_close(y, oracle(Op::reduce_mean, {x}, {{"axes", axes}}), 16 * 0x1p-24);
}

TEST(CudaMovement, WeightsOfEightBits) {
  const Tensor scales = absolute(draw({3}, DType::float32, 1));
  for (DType stored : {DType::int8, DType::float8_e4m3}) {
    Tensor w({3, 86}, stored);
    for (int64_t i = 0; i < w.numel(); ++i) w.as<uint8_t>()[i] = static_cast<uint8_t>(i);
    w.as<uint8_t>()[127] = w.as<uint8_t>()[255] = 0;  // float8's two NaN
    Tensor y(w.shape(), DType::bfloat16), wanted = w.to(DType::float32).clone();
    for (int64_t i = 0; i < w.numel(); ++i) wanted.floats()[static_cast<size_t>(i)] *= scales.floats()[static_cast<size_t>(i / 86)];
    run_in_any_order(
        y, make_dequantize({.in = w.data(), .scales = scales.as<float>(), .out = y.data(), .rows = 3, .columns = 86}, stored, DType::bfloat16));
    expect_equal(y, wanted.to(DType::bfloat16).to(DType::float32));
  }
}

// The bits of tensor/narrow_weight.h, in the order of the rows that is asked for; a row that holds a NaN shows by its scale.
TEST(CudaMovement, WeightsBecomeEightBits) {
  constexpr int64_t kRows = 32, kColumns = 75;
  Tensor w = draw({kRows, kColumns}, DType::float32, 1, 0.02f);
  w.floats()[5 * kColumns + 3] = NAN;
  std::fill_n(&w.floats()[7 * kColumns], kColumns, 0.f);
  const auto check = [&](DType storage, bool pairs, bool geglu, bool follow) {
    Tensor y({kRows, kColumns}, storage), scales({kRows}, DType::float32);
    run_in_any_order(y, make_quantize_weight({.in = w.data(),
                                              .out = y.data(),
                                              .scales = scales.as<float>(),
                                              .rows = kRows,
                                              .columns = kColumns,
                                              .pairs = pairs,
                                              .geglu = geglu,
                                              .scales_follow = follow},
                                             DType::float32, storage));
    for (int64_t r = 0; r < kRows; ++r) {
      const int64_t stored = geglu ? geglu_row(r, kRows) : r;
      const float* const row = &w.floats()[static_cast<size_t>(stored * kColumns)];
      const NarrowRow narrow(storage, std::max(absmax(row, kColumns), pairs ? largest_pair(row, kColumns) : 0));
      const float scale = scales.floats()[static_cast<size_t>(follow ? r : stored)];
      if (stored == 5) {
        EXPECT_TRUE(std::isnan(scale));
        continue;
      }
      ASSERT_EQ(scale, narrow.scale()) << "row " << r;
      for (int64_t i = 0; i < kColumns; ++i) {
        const uint8_t wanted = storage == DType::int8 ? static_cast<uint8_t>(narrow.int8(row[i])) : narrow.float8(row[i]).bits;
        ASSERT_EQ(y.as<uint8_t>()[r * kColumns + i], wanted) << "row " << r << ", element " << i;
      }
    }
  };
  check(DType::int8, true, false, false);
  check(DType::int8, true, true, false);
  check(DType::int8, false, true, true);
  check(DType::float8_e4m3, false, false, true);
}

// To half a step of the scale, of the row as the oracle turns it.
TEST(CudaMovement, WeightsOfEightBitsAreTurned) {
  const Tensor w = draw({3, 64}, DType::float16, 1), wanted = oracle(Op::hadamard, {w}, {{"block", int64_t{32}}});
  Tensor y({3, 64}, DType::int8), scales({3}, DType::float32);
  run_in_any_order(
      y, make_quantize_weight({.in = w.data(), .out = y.data(), .scales = scales.as<float>(), .rows = 3, .columns = 64, .hadamard = 32, .pairs = 1},
                              DType::float16, DType::int8));
  for (int64_t i = 0; i < y.numel(); ++i) {
    const float scale = scales.floats()[static_cast<size_t>(i / 64)];
    EXPECT_NEAR(y.as<int8_t>()[i] * scale, wanted.floats()[static_cast<size_t>(i)], 0.5001 * scale + 1e-6) << i;
  }
}

TEST(CudaMovement, Tables) {
  Tensor mask({5, 5}, DType::float32), seven({9}, DType::bfloat16);
  run_in_any_order(mask, make_table(kCausalMask, {.out = mask.data(), .count = 25, .columns = 5}, DType::float32));
  expect_equal(mask, oracle(Op::causal_mask, {Tensor::zeros({1, 5, 2})}));
  run_in_any_order(seven, make_table(kFill, {.out = seven.data(), .count = 9, .value = 7}, DType::bfloat16));
  expect_equal(seven, Tensor::full({9}, 7));

  const Tensor times = Tensor::from({999.f, 1.f, 480.5f});
  for (int64_t flip : {0, 1}) {
    Tensor y({3, 10}, DType::float32);
    run_in_any_order(
        y, make_table(kSinusoid,
                      {.in = times.data(), .out = y.data(), .count = 30, .columns = 10, .flip = static_cast<int>(flip), .value = 1, .scale = 2},
                      DType::float32));
    expect_close(y, oracle(Op::sinusoid, {times}, {{"dim", int64_t{10}}, {"flip_sin_to_cos", flip}, {"downscale_freq_shift", 1.0}, {"scale", 2.0}}),
                 0x1p-23);
  }

  const Tensor positions = Tensor::from(Shape{2, 3}, std::span<const float>(std::vector<float>{0, 3, 60, 1, 2.5, 7}));
  Tensor rotation({2, 16}, DType::float32);
  TableArguments a{.in = positions.data(), .out = rotation.data(), .count = 32, .columns = 16, .dims = {4, 6, 6}, .axes = 3, .value = 10000};
  run_in_any_order(rotation, make_table(kRotaryTable, a, DType::float32));
  expect_close(rotation, oracle(Op::rotary_table, {positions}, {{"dims", std::vector<int64_t>{4, 6, 6}}, {"theta", 10000.0}}), 0x1p-23);

  const Tensor table = draw({32, 3}, DType::float32, 1), like = Tensor::zeros({1, 150, 1});
  const Tensor wanted = oracle(Op::relative_position_bias, {table, like}, {{"max_distance", int64_t{128}}});
  Tensor bias(wanted.shape(), DType::float32);
  run_in_any_order(
      bias,
      make_table(kRelativePositionBias,
                 {.in = table.data(), .out = bias.data(), .count = bias.numel(), .columns = 150, .heads = 3, .buckets = 32, .max_distance = 128},
                 DType::float32));
  expect_equal(bias, wanted);
}

}  // namespace
}  // namespace vivace::cuda
