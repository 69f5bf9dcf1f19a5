// Blocks turned by a Hadamard matrix, against the matrix.
#include "backends/cpu/kernels/norm/quantize.h"
#include "norm_testing.h"
#include "tensor/narrow_weight.h"

namespace vivace::cpu {
namespace {

// The Kronecker product of matrices of 4, and one of 2 outside where `block` has that factor, unscaled.
double entry(int64_t block, int64_t i, int64_t j) {
  double sign = 1;
  for (; block >= 4; block /= 4, i /= 4, j /= 4) sign *= i % 4 + j % 4 == 3 ? -1 : 1;
  return block == 2 && i == 1 && j == 1 ? -sign : sign;
}

class Hadamard : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    limit_isa(GetParam());
    if (isa() != GetParam()) GTEST_SKIP() << "this machine lacks " << isa_name(GetParam());
  }
  void TearDown() override { limit_isa(kHighestIsa); }
};

TEST_P(Hadamard, IsTheMatrixAndTwiceTheIdentity) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const int64_t block : {16, 32, 64, 128, 256}) {
    std::vector<float> x(static_cast<size_t>(3 * block)), y(x.size());
    for (float& v : x) v = normal(random);
    hadamard_blocks(x.data(), 3 * block, block, y.data());
    const double scale = 1 / std::sqrt(static_cast<double>(block));
    for (int64_t i = 0; i < 3 * block; ++i) {
      const int64_t first = i / block * block;
      double want = 0, magnitude = 0;
      for (int64_t j = 0; j < block; ++j) {
        const double term = entry(block, i - first, j) * scale * x[static_cast<size_t>(first + j)];
        want += term, magnitude += std::abs(term);
      }
      // A product and at most nine sums on the way of each term.
      ASSERT_NEAR(y[static_cast<size_t>(i)], want, 10 * kUnit * magnitude) << block << ' ' << i;
    }
    hadamard_blocks(y.data(), 3 * block, block, y.data());
    for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(y[i], x[i], 20 * kUnit * std::sqrt(static_cast<double>(block)) * 5) << block;
  }
}

// Each of 256 rows has one outlier of 100 among normal values: turned, it is 100 / 16 everywhere in its block, and the step of 8 bits shrinks so.
TEST_P(Hadamard, OutliersSpreadBeforeRowsAreQuantised) {
  constexpr int64_t kRows = 16, kChannels = 512;
  Rows x(DType::float32, kRows, kChannels);
  x.random(1);
  for (int64_t r = 0; r < kRows; ++r) x.set(r, 37 * r % kChannels, 100);
  for (const int64_t block : {int64_t{0}, int64_t{256}}) {
    std::vector<uint8_t> q(kRows * kChannels);
    std::vector<float> values(kChannels);
    std::vector<RowScale> scale(kRows);
    EXPECT_EQ(quantize_rows({x.bytes.data(), x.dtype, x.stride}, kRows, kChannels, {q.data(), DType::uint8, kChannels, scale.data(), block}),
              kNoBadRow);
    for (int64_t r = 0; r < kRows; ++r) {
      const RowScale& row = scale[static_cast<size_t>(r)];
      for (int64_t c = 0; c < kChannels; ++c)
        values[static_cast<size_t>(c)] = row.scale * static_cast<float>(q[static_cast<size_t>(r * kChannels + c)] - row.zero);
      if (block > 0) hadamard_blocks(values.data(), kChannels, block, values.data());
      double squares = 0;
      for (int64_t c = 0; c < kChannels; ++c) squares += std::pow(values[static_cast<size_t>(c)] - x(r, c), 2);
      const double error = std::sqrt(squares / kChannels);
      // A step has an error of 1 / sqrt(12) of itself; values that were turned reach 100 / 16 to either side and what is normal, six deviations at
      // most.
      const double step = (block > 0 ? 2 * (100.0 / 16 + 6) : 100.0) / 255;
      if (block > 0)
        EXPECT_LT(error, step / std::sqrt(12.0));
      else
        EXPECT_GT(error, 0.8 * step / std::sqrt(12.0));
    }
  }
}

// A few channels 50 times the rest, in every row, as activations of transformers have: what products of bytes lose, each factor as it is stored, is
// what docs/error-budget.md says.
TEST_P(Hadamard, ProductsOfRowsWithOutlierChannels) {
  constexpr int64_t kRows = 16, kChannels = 1280, kOutputs = 64, kBlock = 256;
  for (const bool outliers : {false, true}) {
    Rows x(DType::float32, kRows, kChannels);
    x.random(1);
    for (int64_t r = 0; outliers && r < kRows; ++r)
      for (const int64_t channel : {7, 300, 641, 1111}) x.set(r, channel, 50 * x(r, channel));
    Rows w(DType::float32, kOutputs, kChannels);
    w.random(2);
    double lost[2] = {};
    for (const int64_t block : {int64_t{0}, kBlock}) {
      std::vector<uint8_t> q(kRows * kChannels);
      std::vector<float> row(kChannels);
      std::vector<RowScale> scale(kRows);
      quantize_rows({x.bytes.data(), x.dtype, x.stride}, kRows, kChannels, {q.data(), DType::uint8, kChannels, scale.data(), block});
      double errors = 0, squares = 0;
      for (int64_t o = 0; o < kOutputs; ++o) {
        for (int64_t c = 0; c < kChannels; ++c) row[static_cast<size_t>(c)] = static_cast<float>(w(o, c));
        if (block > 0) hadamard_blocks(row.data(), kChannels, block, row.data());
        const NarrowRow narrow(DType::int8, std::max(absmax(row.data(), kChannels), largest_pair(row.data(), kChannels)));
        for (int64_t r = 0; r < kRows; ++r) {
          double exact = 0, sum = 0;
          for (int64_t c = 0; c < kChannels; ++c) {
            exact += w(o, c) * x(r, c);
            sum += (q[static_cast<size_t>(r * kChannels + c)] - scale[static_cast<size_t>(r)].zero) * narrow.int8(row[static_cast<size_t>(c)]);
          }
          sum *= static_cast<double>(scale[static_cast<size_t>(r)].scale) * narrow.scale();
          errors += (sum - exact) * (sum - exact), squares += exact * exact;
        }
      }
      lost[block > 0] = std::sqrt(errors / squares);
    }
    std::printf("%s: %.2e as they are, %.2e turned\n", outliers ? "with outliers" : "normal rows", lost[0], lost[1]);
    const double stated[2] = {outliers ? 4.6e-2 : 1.4e-2, outliers ? 1.15e-2 : 1.3e-2};
    for (int turned : {0, 1}) EXPECT_NEAR(lost[turned], stated[turned], 0.1 * stated[turned]) << (turned ? "turned" : "as they are");
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, Hadamard, testing::Values(Isa::baseline, Isa::avx2, Isa::avx512, Isa::avx512_bf16),
                         [](const auto& info) { return std::string(isa_name(info.param)); });

}  // namespace
}  // namespace vivace::cpu
