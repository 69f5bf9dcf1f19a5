// Rows quantised to float8_e4m3 against tensor/narrow_weight.h, whose rule they share with weights, and what products of such rows lose.
#include "backends/cpu/kernels/norm/norm.h"
#include "norm_testing.h"
#include "tensor/narrow_weight.h"

namespace vivace::cpu {
namespace {

std::vector<float> row_of(const Rows& x, int64_t r) {
  std::vector<float> row(static_cast<size_t>(x.channels));
  for (int64_t c = 0; c < x.channels; ++c) row[static_cast<size_t>(c)] = static_cast<float>(x(r, c));
  return row;
}

f8e4m3 byte_of(const Rows& q, int64_t r, int64_t c) {
  f8e4m3 x;
  x.bits = static_cast<uint8_t>(q.bytes[static_cast<size_t>(r * q.stride + c)]);
  return x;
}

TEST(Float8Rows, HaveTheBitsOfWeights) {
  at_every_isa([&] {
    for (DType in : kFloats) {
      for (int64_t channels : {1, 15, 64, 1000, 17001}) {
        // Normal values, zeros, a value so large that the rest is subnormal or 0 beside it, values so small that they count as zeros.
        Rows x = Rows(in, 5, channels, 1).random(7), q(DType::float8_e4m3, 5, channels, 9);
        for (int64_t c = 0; c < channels; ++c) {
          x.set(1, c, 0);
          x.set(4, c, in == DType::float16 ? 0x1p-24f : 0x1p-126f);
        }
        x.set(2, channels / 2, -3000);
        x.set(3, channels / 3, 30000);
        std::vector<RowScale> scale(5);
        EXPECT_EQ(quantize_rows(x.in(), 5, channels, q.out(scale.data())), kNoBadRow);
        EXPECT_TRUE(q.untouched());
        for (int64_t r = 0; r < 5; ++r) {
          const std::vector<float> row = row_of(x, r);
          const NarrowRow narrow(DType::float8_e4m3, absmax(row.data(), channels));
          EXPECT_EQ(scale[static_cast<size_t>(r)].scale, narrow.scale());
          EXPECT_EQ(scale[static_cast<size_t>(r)].zero, 0);
          for (int64_t c = 0; c < channels; ++c) ASSERT_EQ(byte_of(q, r, c).bits, narrow.float8(row[static_cast<size_t>(c)]).bits) << r << ", " << c;
        }
        EXPECT_EQ(static_cast<float>(byte_of(q, 2, channels / 2)), -448.f) << "the largest is the largest";
        EXPECT_EQ(static_cast<float>(byte_of(q, 3, channels / 3)), 448.f);
      }
    }
  });
}

// Halfway between two of eight steps: to the even one. 448 makes the scale 1.
TEST(Float8Rows, RoundHalvesToEven) {
  at_every_isa([&] {
    const std::vector<std::pair<float, float>> cases{{448, 448}, {1.0625f, 1}, {1.1875f, 1.25f},     {-1.0625f, -1},       {-1.1875f, -1.25f},
                                                     {17, 16},   {19, 20},     {432, 448},           {400, 384},           {0x1p-10f, 0},
                                                     {0, 0},     {-3, -3},     {0x1.8p-9f, 0x1p-8f}, {0x1.ep-7f, 0x1p-6f}, {0x1.ap-7f, 0x1.8p-7f}};
    Rows x(DType::float32, 1, static_cast<int64_t>(cases.size())), q(DType::float8_e4m3, 1, x.channels);
    for (size_t i = 0; i < cases.size(); ++i) x.set(0, static_cast<int64_t>(i), cases[i].first);
    RowScale scale;
    quantize_rows(x.in(), 1, x.channels, q.out(&scale));
    EXPECT_EQ(scale.scale, 1.f);
    for (size_t i = 0; i < cases.size(); ++i)
      EXPECT_EQ(static_cast<float>(byte_of(q, 0, static_cast<int64_t>(i))), cases[i].second) << cases[i].first;
  });
}

// A norm's own values, before they would be rounded to the activations' dtype.
TEST(Float8Rows, ComeFromNorms) {
  at_every_isa([&] {
    for (bool rms : {false, true}) {
      const int64_t rows = 3, channels = 77;
      const Rows x = Rows(bfloat16, rows, channels).random(1, 0.5, 2);
      Rows y(DType::float32, rows, channels), q(DType::float8_e4m3, rows, channels, 3);
      const auto gamma = random_floats(channels, 3, 1, 0.2);
      const RowNorm norm{x.in(), rows, channels, gamma.data(), nullptr, 1e-5f};
      const auto run = rms ? rms_norm : layer_norm;
      std::vector<RowScale> scale(static_cast<size_t>(rows));
      run(norm, y.out(), nullptr);
      EXPECT_EQ(run(norm, q.out(scale.data()), nullptr), kNoBadRow);
      for (int64_t r = 0; r < rows; ++r) {
        const std::vector<float> row = row_of(y, r);
        const NarrowRow narrow(DType::float8_e4m3, absmax(row.data(), channels));
        for (int64_t c = 0; c < channels; ++c) ASSERT_EQ(byte_of(q, r, c).bits, narrow.float8(row[static_cast<size_t>(c)]).bits) << r << ", " << c;
      }
    }
  });
}

TEST(Float8Rows, NameTheFirstThatCannotBeQuantised) {
  at_every_isa([&] {
    Rows x = Rows(bfloat16, 400, 320).random(1), q(DType::float8_e4m3, 400, 320);
    std::vector<RowScale> scale(400);
    x.set(390, 7, NAN);
    x.set(123, 319, -INFINITY);
    EXPECT_EQ(quantize_rows(x.in(), 400, 320, q.out(scale.data())), 123);
    for (int64_t r = 0; r < 400; ++r) EXPECT_EQ(std::isnan(scale[static_cast<size_t>(r)].scale), r == 390 || r == 123);
    for (int64_t c = 0; c < 320; ++c) EXPECT_EQ(byte_of(q, 390, c).bits, 0);
  });
}

// What docs/error-budget.md says of rows of 1280, normal ones and with four channels 50 times the rest.
TEST(Float8Rows, ProductsOfRowsWithOutlierChannels) {
  constexpr int64_t kRows = 16, kChannels = 1280, kOutputs = 64;
  for (const bool outliers : {false, true}) {
    Rows x(DType::float32, kRows, kChannels), w(DType::float32, kOutputs, kChannels), q(DType::float8_e4m3, kRows, kChannels);
    x.random(1), w.random(2);
    for (int64_t r = 0; outliers && r < kRows; ++r)
      for (const int64_t channel : {7, 300, 641, 1111}) x.set(r, channel, static_cast<float>(50 * x(r, channel)));
    std::vector<RowScale> scale(kRows);
    quantize_rows(x.in(), kRows, kChannels, q.out(scale.data()));
    double errors = 0, squares = 0;
    for (int64_t o = 0; o < kOutputs; ++o) {
      const std::vector<float> row = row_of(w, o);
      const NarrowRow narrow(DType::float8_e4m3, absmax(row.data(), kChannels));
      for (int64_t r = 0; r < kRows; ++r) {
        double exact = 0, sum = 0;
        for (int64_t c = 0; c < kChannels; ++c) {
          exact += w(o, c) * x(r, c);
          sum += static_cast<double>(static_cast<float>(byte_of(q, r, c))) * static_cast<float>(narrow.float8(row[static_cast<size_t>(c)]));
        }
        sum *= static_cast<double>(scale[static_cast<size_t>(r)].scale) * narrow.scale();
        errors += (sum - exact) * (sum - exact), squares += exact * exact;
      }
    }
    const double lost = std::sqrt(errors / squares), stated = outliers ? 3.1e-2 : 3.8e-2;
    std::printf("%s: %.2e\n", outliers ? "with outliers" : "normal rows", lost);
    EXPECT_NEAR(lost, stated, 0.1 * stated);
  }
}

}  // namespace
}  // namespace vivace::cpu
