#include <numeric>

#include "backends/cpu/kernels/elementwise/elementwise.h"
#include "backends/cpu/kernels/elementwise/tile.h"
#include "base/parallel.h"
#include "norm_testing.h"

namespace vivace::cpu {
namespace {

TEST(Upsample, takes_the_pixels_that_pytorch_takes) {
  // torch.nn.functional.interpolate(torch.arange(in), size=out, mode="nearest"). From 26 to 22 the float32 ratio decides: 11 * 26 / 22 is 13.
  const auto indices = [](int64_t in, int64_t out) {
    std::vector<int64_t> v;
    for (int64_t i = 0; i < out; ++i) v.push_back(nearest_index(i, in, out));
    return v;
  };
  EXPECT_EQ(indices(7, 9), (std::vector<int64_t>{0, 0, 1, 2, 3, 3, 4, 5, 6}));
  EXPECT_EQ(indices(3, 7), (std::vector<int64_t>{0, 0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(nearest_index(11, 26, 22), 12);
  EXPECT_EQ(nearest_index(23, 14, 46), 6);
  for (int64_t i = 0; i < 98; ++i) EXPECT_EQ(nearest_index(i, 49, 98), i / 2);
  for (DType dtype : kFloats) {
    const Rows x = Rows(dtype, 2 * 5 * 3, 6, 2).random(1);
    Rows y(dtype, 2 * 11 * 6, 6, 1);
    upsample_nearest({x.in(), 2, 5, 3, 6, 11, 6}, y.out());
    EXPECT_TRUE(y.untouched());
    for (int64_t n = 0; n < 2; ++n)
      for (int64_t h = 0; h < 11; ++h)
        for (int64_t w = 0; w < 6; ++w)
          for (int64_t c = 0; c < 6; ++c) ASSERT_EQ(y((n * 11 + h) * 6 + w, c), x((n * 5 + nearest_index(h, 5, 11)) * 3 + w / 2, c));
  }
}

TEST(Transpose, both_ways_at_any_size) {
  at_every_isa([] {
    for_dtype_pairs([](DType in, DType out) {
      const int64_t sizes[][2] = {{4, 1000}, {1000, 4}, {3, 70}, {1, 5}, {64, 64}, {33, 101}, {200, 35}, {2048, 20}};
      for (const auto& [rows, columns] : sizes) {
        for (int64_t gap : {0, 3}) {
          const Rows x = Rows(in, 2 * rows, columns, gap).random(1);
          Rows y(out, 2 * columns, rows, gap), want(out, 1, 1);
          transpose(x.in(), 2, rows, columns, y.out());
          EXPECT_TRUE(y.untouched());
          for (int64_t b = 0; b < 2; ++b) {
            for (int64_t r = 0; r < rows; ++r) {
              for (int64_t c = 0; c < columns; ++c) {
                want.set(0, 0, static_cast<float>(x(b * rows + r, c)));
                ASSERT_EQ(y(b * columns + c, r), want(0, 0)) << rows << " x " << columns;
              }
            }
          }
        }
      }
    });
  });
}

TEST(Embedding, gathers_rows) {
  const Rows table = Rows(float16, 50, 77, 1).random(1);
  const int64_t wide[] = {49, 0, 7, 7};
  const int32_t narrow[] = {49, 0, 7, 7};
  at_every_isa([&] {
    Rows a(float32, 4, 77), b(float32, 4, 77);
    embedding_rows(table.in(), 77, wide, DType::int64, 4, a.out());
    embedding_rows(table.in(), 77, narrow, DType::int32, 4, b.out());
    EXPECT_EQ(a.bytes, b.bytes);
    for (int64_t i = 0; i < 4; ++i)
      for (int64_t c = 0; c < 77; ++c) ASSERT_EQ(a(i, c), table(wide[i], c));
  });
}

// Tolerance: half a unit of the exponent and of the frequency, one of the product each, which sin and cos see as an error of the angle.
TEST(TimestepEmbedding, equals_the_formula) {
  const float timesteps[] = {0.f, 1.f, 999.f, 41.5f};
  for (bool flip : {false, true}) {
    for (float shift : {0.f, 1.f}) {
      for (int64_t channels : {320, 33}) {
        std::vector<float> y(static_cast<size_t>(4 * channels));
        timestep_embedding({channels, flip, shift}, timesteps, 4, y.data());
        const int64_t half = channels / 2;
        for (int64_t r = 0; r < 4; ++r) {
          for (int64_t i = 0; i < half; ++i) {
            const double exponent = -std::log(10000.0) * static_cast<double>(i) / (static_cast<double>(half) - shift);
            const double angle = timesteps[r] * std::exp(exponent), tolerance = angle * kUnit * (3 * std::abs(exponent) + 3) + kUnit;
            const float* row = y.data() + r * channels;
            EXPECT_NEAR(row[flip ? half + i : i], std::sin(angle), tolerance);
            EXPECT_NEAR(row[flip ? i : half + i], std::cos(angle), tolerance);
          }
          if (channels % 2 == 1) {
            EXPECT_EQ(y[static_cast<size_t>((r + 1) * channels - 1)], 0);
          }
        }
      }
    }
  }
}

TEST(GatedRows, equals_geglu) {
  at_every_isa([] {
    for_dtype_pairs([](DType in, DType out) {
      for (int64_t channels : {40, 1500, 17000}) {
        const Rows x = Rows(in, 3, 2 * channels, 1).random(1);
        Rows y(out, 3, channels, 2), q(DType::uint8, 3, channels);
        std::vector<RowScale> scale(3);
        const RowInput gate{x.bytes.data() + channels * static_cast<int64_t>(dtype_size(in)), in, x.stride};
        EXPECT_EQ(gated_rows({x.in(), gate, 3, channels, Act::gelu}, y.out()), kNoBadRow);
        EXPECT_EQ(gated_rows({x.in(), gate, 3, channels, Act::gelu}, q.out(scale.data())), kNoBadRow);
        for (int64_t r = 0; r < 3; ++r) {
          for (int64_t c = 0; c < channels; ++c) {
            const double h = x(r, c), g = x(r, channels + c), want = h * g / 2 * (1 + std::erf(g / std::sqrt(2.0)));
            const double tolerance = 8 * kUnit * std::abs(h * g);
            ASSERT_NEAR(y(r, c), want, tolerance + rounding(want, out));
            ASSERT_NEAR(dequantized(q, scale, r, c), want, tolerance + scale[static_cast<size_t>(r)].scale * (0.5 + 512 * kUnit));
          }
        }
      }
    });
  });
}

TileProgram program(std::vector<TileInput> inputs, std::vector<TileInstruction> instructions, std::vector<TileOutput> outputs) {
  TileProgram p;
  p.input_count = static_cast<uint8_t>(inputs.size());
  p.instruction_count = static_cast<uint8_t>(instructions.size());
  p.output_count = static_cast<uint8_t>(outputs.size());
  std::copy(inputs.begin(), inputs.end(), p.inputs);
  std::copy(instructions.begin(), instructions.end(), p.instructions);
  std::copy(outputs.begin(), outputs.end(), p.outputs);
  return p;
}

TEST(Tile, every_broadcast_over_every_shape) {
  using B = TileBroadcast;
  const int64_t shapes[][3] = {{1, 5000, 1}, {6, 1, 3}, {70, 3, 10}, {50, 64, 25}, {12, 700, 4}, {9, 1500, 3}, {700, 40, 350}, {1, 40000, 1}};
  at_every_isa([&] {
    for_dtype_pairs([&](DType in, DType out) {
      // ((full + row) * channel - image_channel) * scalar + full, and the sum of the first two
      const TileProgram p =
          program({{in, B::full}, {float32, B::row}, {in, B::channel}, {float32, B::image_channel}, {in, B::scalar}, {float32, B::full}},
                  {{TileOp::add, 6, 0, 1}, {TileOp::mul, 7, 6, 2}, {TileOp::sub, 7, 7, 3}, {TileOp::mul, 7, 7, 4}, {TileOp::add, 7, 7, 5}},
                  {{out, 7}, {float32, 6}});
      ASSERT_EQ(tile_program_error(p), nullptr);
      for (const auto& [rows, channels, per_image] : shapes) {
        SCOPED_TRACE(testing::Message() << rows << " x " << channels);
        const int64_t images = (rows + per_image - 1) / per_image;
        const Rows a = Rows(in, rows, channels, 3).random(1), row = Rows(float32, rows, 1, 1).random(2), ch = Rows(in, 1, channels).random(3);
        const Rows ic = Rows(float32, images, channels, 2).random(4), s = Rows(in, 1, 1).random(5), b = Rows(float32, rows, channels).random(6);
        Rows y(out, rows, channels, 1), sum(float32, rows, channels);
        TileArguments arguments{rows, channels, per_image};
        const Rows* inputs[] = {&a, &row, &ch, &ic, &s, &b};
        for (int i = 0; i < 6; ++i) {
          arguments.inputs[i] = inputs[i]->bytes.data();
          arguments.input_strides[i] = inputs[i]->stride;
        }
        arguments.outputs[0] = y.bytes.data();
        arguments.output_strides[0] = y.stride;
        arguments.outputs[1] = sum.bytes.data();
        arguments.output_strides[1] = sum.stride;
        tile_run(p, arguments);
        EXPECT_TRUE(y.untouched());
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t c = 0; c < channels; ++c) {
            const double first = a(r, c) + row(r, 0), second = first * ch(0, c), third = second - ic(r / per_image, c), fourth = third * s(0, 0);
            const double want = fourth + b(r, c);
            const double error = kUnit * (3 * (std::abs(second) + std::abs(third)) * std::abs(s(0, 0)) + std::abs(fourth) + std::abs(want));
            ASSERT_NEAR(y(r, c), want, error + rounding(want, out)) << r << ", " << c;
            ASSERT_EQ(sum(r, c), static_cast<float>(first));
          }
        }
      }
    });
  });
}

struct OpCase {
  TileOp op;
  double (*want)(double a, double b);
  double low, high;
  double units;  // of the larger of |a|, |b|, |result|: 1 for exact operations, 4 of the vector functions, 8 where a formula cancels
};

TEST(Tile, every_operation) {
  constexpr float p = 0.75f, q = 1.5f;
  const OpCase cases[] = {
      {TileOp::add, [](double a, double b) { return a + b; }, -9, 9, 1},
      {TileOp::sub, [](double a, double b) { return a - b; }, -9, 9, 1},
      {TileOp::mul, [](double a, double b) { return a * b; }, -9, 9, 1},
      {TileOp::div, [](double a, double b) { return a / b; }, 0.1, 9, 1},
      {TileOp::affine, [](double a, double) { return a * p + q; }, -9, 9, 2},
      {TileOp::clamp, [](double a, double) { return std::clamp(a, double{p}, double{q}); }, -9, 9, 0},
      {TileOp::exp, [](double a, double) { return std::exp(a); }, -20, 20, 8},
      {TileOp::rsqrt, [](double a, double) { return 1 / std::sqrt(a); }, 0.1, 90, 2},
      {TileOp::silu, [](double a, double) { return a / (1 + std::exp(-a)); }, -9, 9, 8},
      {TileOp::gelu, [](double a, double) { return a / 2 * (1 + std::erf(a / std::sqrt(2.0))); }, -9, 9, 8},
      {TileOp::gelu_tanh, [](double a, double) { return a / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (a + 0.044715 * a * a * a))); }, -9, 9, 8},
      {TileOp::quick_gelu, [](double a, double) { return a / (1 + std::exp(-1.702 * a)); }, -9, 9, 8},
      {TileOp::relu, [](double a, double) { return std::max(a, 0.0); }, -9, 9, 0},
      {TileOp::cast, [](double a, double) { return static_cast<double>(static_cast<float>(bf16(static_cast<float>(a)))); }, -9, 9, 0},
  };
  static_assert(std::size(cases) == kTileOpCount);
  at_every_isa([&] {
    for (const OpCase& k : cases) {
      SCOPED_TRACE(testing::Message() << "TileOp " << static_cast<int>(k.op));
      const int64_t n = 2077;
      std::mt19937 engine(3);
      std::uniform_real_distribution<float> uniform(static_cast<float>(k.low), static_cast<float>(k.high));
      std::vector<float> a(static_cast<size_t>(n)), b(a.size()), y(a.size());
      for (float& f : a) f = uniform(engine);
      for (float& f : b) f = uniform(engine);
      const TileProgram code = program({{}, {}}, {{k.op, 2, 0, 1, bfloat16, p, q}}, {{float32, 2}});
      ASSERT_EQ(tile_program_error(code), nullptr);
      TileArguments arguments{1, n};
      arguments.inputs[0] = a.data();
      arguments.inputs[1] = b.data();
      arguments.outputs[0] = y.data();
      arguments.input_strides[0] = arguments.input_strides[1] = arguments.output_strides[0] = n;
      tile_run(code, arguments);
      for (size_t i = 0; i < a.size(); ++i) {
        const double want = k.want(a[i], b[i]), size = std::max(std::abs(want), k.op == TileOp::exp ? 0.0 : std::abs(static_cast<double>(a[i])));
        ASSERT_NEAR(y[i], want, k.units * kUnit * size) << a[i] << ", " << b[i];
      }
      // A NaN in either operand that is read comes out, at every place in a tile.
      a[5] = a[static_cast<size_t>(n - 1)] = NAN;
      tile_run(code, arguments);
      EXPECT_TRUE(std::isnan(y[5]) && std::isnan(y[static_cast<size_t>(n - 1)]));
    }
  });
}

TEST(Tile, runs_in_place) {
  at_every_isa([] {
    Rows x = Rows(bfloat16, 100, 320).random(1);
    const Rows before = x;
    const TileProgram p = program({{bfloat16}}, {{TileOp::affine, 1, 0, 0, float32, 2.f}}, {{bfloat16, 1}});
    TileArguments arguments{100, 320};
    arguments.inputs[0] = arguments.outputs[0] = x.bytes.data();
    arguments.input_strides[0] = arguments.output_strides[0] = 320;
    tile_run(p, arguments);
    for (int64_t r = 0; r < 100; ++r)
      for (int64_t c = 0; c < 320; ++c) ASSERT_EQ(x(r, c), 2 * before(r, c));
  });
}

TEST(Tile, bad_programs_are_named) {
  EXPECT_NE(tile_program_error(TileProgram{}), nullptr);                                                           // no output
  EXPECT_NE(tile_program_error(program({{}}, {}, {{float32, 3}})), nullptr);                                       // never written
  EXPECT_NE(tile_program_error(program({{}}, {{TileOp::add, 1, 0, 5}}, {{float32, 1}})), nullptr);                 // b never written
  EXPECT_NE(tile_program_error(program({{}}, {{TileOp::exp, 0, 0, 0}}, {{float32, 0}})), nullptr);                 // writes an input
  EXPECT_NE(tile_program_error(program({{}}, {{TileOp::exp, 16, 0, 0}}, {{float32, 0}})), nullptr);                // no such register
  EXPECT_NE(tile_program_error(program({{DType::int8}}, {}, {{float32, 0}})), nullptr);                            // dtype
  EXPECT_NE(tile_program_error(program({{}}, {{static_cast<TileOp>(99), 1, 0, 0}}, {{float32, 1}})), nullptr);     // operation
  EXPECT_NE(tile_program_error(program({{}}, {{TileOp::cast, 1, 0, 0, DType::int64}}, {{float32, 1}})), nullptr);  // cast
  TileProgram many = program({{}}, {}, {{float32, 0}});
  many.instruction_count = 200;
  EXPECT_NE(tile_program_error(many), nullptr);
}

}  // namespace
}  // namespace vivace::cpu
