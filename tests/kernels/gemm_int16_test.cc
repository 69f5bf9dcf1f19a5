// The GEMM with products of int16: the error it states, the rows that come nearest to overflowing, and numbers that are none.
#include <functional>
#include <numeric>

#include "gemm_problem.h"

namespace vivace::cpu::gemm_test {
namespace {

using Int16 = AtEveryLevel;
constexpr Isa kLevels[] = {Isa::avx2, Isa::avx2_vnni, Isa::avx512, Isa::avx512_vnni, Isa::avx512_bf16, Isa::amx};
INSTANTIATE_TEST_SUITE_P(Levels, Int16, testing::ValuesIn(kLevels), [](const auto& info) { return std::string(isa_name(info.param)); });

// [m, n] = A [m, k] x W [n, k] for values that are given.
Buffer multiply(int64_t m, int64_t n, int64_t k, bool strassen, const std::function<double(int64_t, int64_t)>& a_at,
                const std::function<double(int64_t, int64_t)>& w_at) {
  GemmSpec spec = make(n, k, Compute::int16_dynamic, float32, float32, float32);
  spec.strassen = strassen;
  Buffer a(float32, m * k), w(float32, n * k), c(float32, m * n);
  for (int64_t i = 0; i < a.size; ++i) a.set(i, a_at(i / k, i % k));
  for (int64_t i = 0; i < w.size; ++i) w.set(i, w_at(i / k, i % k));
  Aligned packed(gemm_packed_bytes(spec)), workspace(gemm_workspace_bytes(spec, m, num_threads()));
  gemm_pack(spec, w.data(), float32, packed.p);
  EXPECT_EQ(gemm(spec, {.packed = packed.p, .a = a.data(), .lda = k, .m = m, .c = c.data(), .ldc = n, .workspace = workspace.p}), -1);
  return c;
}

// On normal numbers, by Strassen's algorithm too, to which integers lose nothing. Plain code has the error on every machine; at the levels that this
// one has the kernel does what that says.
TEST(Int16Error, IsWhatIsStatedOnEveryLevel) {
  constexpr int64_t m = 130, n = 64;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (int64_t k : {320, 1280, 5120}) {
    std::vector<double> a(m * k), w(n * k), exact(m * n), simulated(m * n);
    for (double& x : a) x = normal(random);
    for (double& x : w) x = bf16(normal(random));
    const auto rounded = [k](std::vector<double> rows) {
      for (auto row = rows.begin(); row != rows.end(); row += k) {
        const double step = int16_step(k, [&](int64_t j) { return row[j]; });
        for (int64_t j = 0; j < k; ++j) row[j] = std::nearbyint(row[j] / step) * step;
      }
      return rows;
    };
    const std::vector<double> a16 = rounded(a), w16 = rounded(w);
    for (int64_t i = 0; i < m * n; ++i) {
      exact[i] = std::inner_product(a.begin() + i / n * k, a.begin() + (i / n + 1) * k, w.begin() + i % n * k, 0.);
      simulated[i] = std::inner_product(a16.begin() + i / n * k, a16.begin() + (i / n + 1) * k, w16.begin() + i % n * k, 0.);
    }
    const auto relative = [&](const auto& got, const std::vector<double>& want) {
      double errors = 0, squares = 0;
      for (int64_t i = 0; i < m * n; ++i) errors += (got[i] - want[i]) * (got[i] - want[i]), squares += want[i] * want[i];
      return std::sqrt(errors / squares);
    };
    const double stated = gemm_int16_error(k);
    EXPECT_NEAR(relative(simulated, exact) / stated, 1, 0.05) << k;
    std::printf("k %ld: stated %.3g, simulated %.3g", static_cast<long>(k), stated, relative(simulated, exact));
    const std::shared_ptr<void> restore(nullptr, [](void*) { limit_isa(kHighestIsa); });
    for (Isa level : kLevels) {
      if (!has_isa(level)) continue;
      limit_isa(level);
      for (bool strassen : {false, true}) {
        const Buffer c = multiply(
            m, n, k, strassen, [&](int64_t r, int64_t j) { return a[r * k + j]; }, [&](int64_t o, int64_t j) { return w[o * k + j]; });
        EXPECT_NEAR(relative(c, exact) / stated, 1, 0.05) << isa_name(level) << " k " << k << (strassen ? " by Strassen" : "");
        // A step of float32 has another last bit, so that a value between two steps may be rounded the other way.
        EXPECT_LE(relative(c, simulated), 0.2 * stated) << isa_name(level) << " k " << k << (strassen ? " by Strassen" : "");
        std::printf(", %s %.3g", isa_name(level).data(), relative(c, exact));
      }
    }
    std::printf("\n");
  }
}

// Rows of one value have the largest sums that there are, and all of one sign.
TEST_P(Int16, LargestSumsFit) {
  for (bool strassen : {false, true})
    for (int64_t k : {1, 2, 3, 8, 31, 32, 64, 1280, 5120, 65536}) {
      if (strassen && k % 32 != 0) continue;
      const auto one = [](int64_t, int64_t) { return 1.; };
      const Buffer c = multiply(strassen ? 128 : 13, strassen ? 64 : 5, k, strassen, one, one);
      for (int64_t i = 0; i < c.size; ++i)
        ASSERT_NEAR(c[i], static_cast<double>(k), static_cast<double>(k) * 3 * gemm_int16_error(k)) << k << ' ' << i;
    }
}

// One instruction for the two of the level below: no sum may differ, the largest ones and those that wrap on the way included.
TEST(Int16Vnni, SumsAreThoseOfTheLevelBelow) {
  for (const auto& [below, vnni] : {std::pair{Isa::avx2, Isa::avx2_vnni}, {Isa::avx512, Isa::avx512_vnni}}) {
    if (!has_isa(vnni)) continue;
    const std::shared_ptr<void> restore(nullptr, [](void*) { limit_isa(kHighestIsa); });
    for (bool strassen : {false, true})
      for (int64_t k : {64, 1280}) {
        const auto a = [](int64_t r, int64_t j) { return r < 64 ? 1. : static_cast<double>((r * 31 + j * 17) % 23) - 11; };
        const auto w = [](int64_t n, int64_t j) { return n < 32 ? -1. : static_cast<double>((n * 13 + j * 29) % 37) - 18; };
        limit_isa(below);
        const Buffer want = multiply(135, 64, k, strassen, a, w);
        limit_isa(vnni);
        const Buffer got = multiply(135, 64, k, strassen, a, w);
        for (int64_t i = 0; i < want.size; ++i) ASSERT_EQ(got[i], want[i]) << isa_name(vnni) << " k " << k << " at " << i;
      }
  }
}

// What sets the scale may be one value or all of them.
TEST_P(Int16, OneHugeValueLeavesTheOthersTheirBits) {
  constexpr int64_t k = 640;
  const auto huge = [](int64_t r, int64_t j) { return j == r ? 1000. : 1 + static_cast<double>(j % 3); };
  const auto weights = [](int64_t n, int64_t j) { return (j + n) % 2 ? 1. : -1.; };
  const Buffer c = multiply(9, 7, k, false, huge, weights);
  for (int64_t i = 0; i < 9; ++i)
    for (int64_t n = 0; n < 7; ++n) {
      double sum = 0;
      for (int64_t j = 0; j < k; ++j) sum += huge(i, j) * weights(n, j);
      // 1.5 steps of A at the most for each of k values, had all the same error
      EXPECT_NEAR(c[i * 7 + n], sum, 1000. / 16383 / 2 * k * 0.1) << i << ' ' << n;
    }
}

TEST_P(Int16, RowsOfAnyMagnitude) {
  const auto exponent = [](int64_t r) { return std::ldexp(1., static_cast<int>(r * 9 - 100)); };
  const auto value = [](int64_t r, int64_t j) { return static_cast<double>((r * 7 + j * 5) % 11) - 5; };
  constexpr int64_t k = 100, m = 24;
  const Buffer c = multiply(
      m, 3, k, false, [&](int64_t r, int64_t j) { return exponent(r) * value(r, j); }, [&](int64_t n, int64_t j) { return value(n, j) + 1; });
  for (int64_t r = 0; r < m; ++r)
    for (int64_t n = 0; n < 3; ++n) {
      double sum = 0, magnitude = 0;
      for (int64_t j = 0; j < k; ++j) sum += value(r, j) * (value(n, j) + 1), magnitude += std::fabs(value(r, j) * (value(n, j) + 1));
      EXPECT_NEAR(c[r * 3 + n] / exponent(r), sum, magnitude * 1e-3) << r << ' ' << n;
    }
}

TEST_P(Int16, RowsOfZerosAreZeros) {
  const Buffer c = multiply(
      4, 3, 50, false, [](int64_t r, int64_t) { return r == 1   ? 0.
                                                       : r == 2 ? 1e-44
                                                                : 1.; }, [](int64_t n, int64_t) { return n == 2 ? 0. : 1.; });
  for (int64_t r = 0; r < 4; ++r)
    for (int64_t n = 0; n < 3; ++n) EXPECT_NEAR(c[r * 3 + n], r == 1 || r == 2 || n == 2 ? 0. : 50., 0.05) << r << ' ' << n;
}

TEST_P(Int16, NotANumberStaysInItsRow) {
  for (bool strassen : {false, true})
    for (double bad : {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()}) {
      const Buffer c = multiply(
          130, 64, 64, strassen, [&](int64_t r, int64_t j) { return r == 77 && j == 63 ? bad : 1.; }, [](int64_t, int64_t) { return 1.; });
      for (int64_t i = 0; i < c.size; ++i) ASSERT_EQ(std::isnan(c[i]), i / 64 == 77) << i;
    }
  const Buffer c = multiply(
      3, 5, 8, false, [](int64_t, int64_t) { return 1.; },
      [](int64_t n, int64_t j) { return n == 2 && j == 7 ? std::numeric_limits<double>::quiet_NaN() : 1.; });
  for (int64_t i = 0; i < c.size; ++i) EXPECT_EQ(std::isnan(c[i]), i % 5 == 2) << i;
}

}  // namespace
}  // namespace vivace::cpu::gemm_test
