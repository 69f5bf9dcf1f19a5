#include "backends/cpu/kernels/norm/norm.h"

#include "backends/cpu/kernels/elementwise/elementwise.h"
#include "backends/cpu/kernels/norm/softmax.h"
#include "base/parallel.h"
#include "norm_testing.h"

namespace vivace::cpu {
namespace {

double silu(double x) { return x / (1 + std::exp(-x)); }

struct GroupCase {
  int64_t images, pixels, channels, groups;
  double mean, deviation;
};

struct GroupOracle {
  std::vector<double> want, tolerance;  // the tolerance without the output's rounding

  // The largest of |got - want| / tolerance.
  double error(const Rows& y) const {
    double worst = 0;
    for (int64_t p = 0; p < y.rows; ++p) {
      for (int64_t c = 0; c < y.channels; ++c) {
        const auto i = static_cast<size_t>(p * y.channels + c);
        const double e = std::abs(y(p, c) - want[i]) / (tolerance[i] + rounding(want[i], y.dtype));
        worst = e > worst || std::isnan(e) ? e : worst;
        if (std::isnan(worst)) return INFINITY;
      }
    }
    return worst;
  }
};

// The tolerance: the float sums of the statistics take 64 terms before they go into doubles (64 units of mean and deviation each, so of gamma
// and of y), then a few roundings of x * scale + shift, and the activation's.
GroupOracle group_norm_oracle(const GroupCase& k, const Rows& x, const std::vector<float>& gamma, const std::vector<float>& beta, float eps,
                              Act act) {
  GroupOracle oracle;
  oracle.want.resize(static_cast<size_t>(x.rows * x.channels));
  oracle.tolerance.resize(oracle.want.size());
  const int64_t size = k.channels / k.groups;
  for (int64_t n = 0; n < k.images; ++n) {
    for (int64_t g = 0; g < k.groups; ++g) {
      double sum = 0, squares = 0;
      const double count = static_cast<double>(size * k.pixels);
      const auto each = [&](const auto& f) {
        for (int64_t p = n * k.pixels; p < (n + 1) * k.pixels; ++p)
          for (int64_t c = g * size; c < (g + 1) * size; ++c) f(p, c);
      };
      each([&](int64_t p, int64_t c) { sum += x(p, c); });
      const double mean = sum / count;
      each([&](int64_t p, int64_t c) { squares += (x(p, c) - mean) * (x(p, c) - mean); });
      const double factor = 1 / std::sqrt(squares / count + eps);
      each([&](int64_t p, int64_t c) {
        const double scale = factor * gamma[c], shift = beta[c] - mean * scale;
        const double v = x(p, c) * scale + shift, want = act == Act::silu ? silu(v) : v;
        const double before = 64 * kUnit * (std::abs(gamma[c]) + std::abs(v)) + 2 * kUnit * (std::abs(x(p, c) * scale) + std::abs(shift));
        const auto i = static_cast<size_t>(p * k.channels + c);
        oracle.want[i] = want;
        oracle.tolerance[i] = 1.1 * before + 8 * kUnit * std::abs(v);  // silu's slope is at most 1.1
      });
    }
  }
  return oracle;
}

TEST(GroupNorm, equals_the_double_oracle) {
  const GroupCase cases[] = {
      {2, 35, 64, 32, 0, 1},      // two channels a group, pixels not a multiple of anything
      {1, 1, 32, 8, 3, 2},        // one pixel
      {3, 70, 44, 4, 0.5, 3},     // channels not a multiple of a vector
      {1, 16, 2560, 32, 0, 1},    // more than one tile of channels; a group across the tiles' border
      {1, 9, 4200, 1, 1, 1},      // one group over all tiles
      {2, 700, 128, 32, 100, 1},  // a mean that is large against the deviation; shared by threads
      {1, 6, 5000, 5000, 2, 1},   // instance norm with more groups than partial sums
  };
  for (const GroupCase& k : cases) {
    SCOPED_TRACE(testing::Message() << k.images << " x " << k.pixels << " x " << k.channels << " / " << k.groups);
    const auto gamma = random_floats(k.channels, 2, 1, 0.3), beta = random_floats(k.channels, 3);
    for (DType in : kFloats) {
      const Rows x = Rows(in, k.images * k.pixels, k.channels, 5).random(1, k.mean, k.deviation);
      for (Act act : {Act::none, Act::silu}) {
        const GroupOracle oracle = group_norm_oracle(k, x, gamma, beta, 1e-5f, act);
        at_every_isa([&] {
          const GroupNorm norm{x.in(), k.images, k.pixels, k.channels, k.groups, gamma.data(), beta.data(), 1e-5f};
          for (DType out : kFloats) {
            SCOPED_TRACE(std::string(dtype_name(in)) + " -> " + std::string(dtype_name(out)));
            Rows y(out, x.rows, k.channels, 3);
            group_norm(norm, act, y.out());
            EXPECT_LE(oracle.error(y), 1);
            EXPECT_TRUE(y.untouched());
          }
        });
      }
    }
  }
}

TEST(GroupNorm, statistics_stay_exact_over_a_million_elements) {
  const GroupCase k{1, 1 << 18, 8, 2, 30, 1};
  const Rows x = Rows(float32, k.pixels, k.channels).random(4, k.mean, k.deviation);
  const GroupOracle oracle = group_norm_oracle(k, x, std::vector<float>(8, 1.f), std::vector<float>(8, 0.f), 1e-5f, Act::none);
  at_every_isa([&] {
    for (int threads : {1, 2, 5}) {
      set_num_threads(threads);
      Rows y(float32, k.pixels, k.channels);
      group_norm({x.in(), 1, k.pixels, k.channels, k.groups, nullptr, nullptr, 1e-5f}, Act::none, y.out());
      EXPECT_LE(oracle.error(y), 1);
    }
    set_num_threads(0);
  });
}

TEST(GroupNorm, in_place_and_nan) {
  at_every_isa([&] {
    const GroupCase k{2, 12, 32, 4, 0, 1};
    const Rows x = Rows(bfloat16, 24, 32).random(5);
    const GroupOracle oracle = group_norm_oracle(k, x, std::vector<float>(32, 1.f), std::vector<float>(32, 0.f), 1e-5f, Act::silu);
    Rows y = x;
    group_norm({y.in(), 2, 12, 32, 4, nullptr, nullptr, 1e-5f}, Act::silu, y.out());
    EXPECT_LE(oracle.error(y), 1);
    // A NaN spoils its own image and group, nothing else.
    Rows z = x;
    z.set(13, 9, NAN);
    group_norm({z.in(), 2, 12, 32, 4, nullptr, nullptr, 1e-5f}, Act::none, z.out());
    for (int64_t p = 0; p < 24; ++p)
      for (int64_t c = 0; c < 32; ++c) EXPECT_EQ(std::isnan(z(p, c)), p >= 12 && c / 8 == 1);
  });
}

struct RowOracle {
  std::vector<double> value, tolerance;
};

// Tolerance: float sums over n terms in 4 * lanes >= 16 chains (n / 16 + 8 units), and the few roundings of the formula.
RowOracle row_norm_oracle(const RowNorm& norm, const Rows& x, int64_t r, bool rms) {
  const int64_t n = norm.channels;
  std::vector<double> v(static_cast<size_t>(n));
  double sum = 0, squares = 0, spread = 0;
  for (int64_t c = 0; c < n; ++c) sum += v[c] = x(r, c);
  const double mean = rms ? 0 : sum / static_cast<double>(n);
  for (double d : v) {
    squares += (d - mean) * (d - mean);
    spread += std::abs(d);
  }
  const double factor = 1 / std::sqrt(squares / static_cast<double>(n) + norm.eps), chain = static_cast<double>(n) / 16 + 8;
  RowOracle oracle;
  for (int64_t c = 0; c < n; ++c) {
    const double gamma = norm.gamma ? norm.gamma[c] : 1, beta = norm.beta ? norm.beta[c] : 0, y = (v[c] - mean) * factor * gamma;
    oracle.value.push_back(y + beta);
    const double mean_error = (rms ? 0 : chain * kUnit * spread / static_cast<double>(n)) + kUnit * (std::abs(mean) + 2 * std::abs(v[c]));
    oracle.tolerance.push_back(mean_error * factor * std::abs(gamma) + (chain + 8) * kUnit * std::abs(y) + kUnit * std::abs(y + beta));
  }
  return oracle;
}

// Images of so many rows with weights of their own; 0: all have the same.
void check_row_norm(bool rms, DType in, DType out, int64_t rows, int64_t channels, bool affine, int64_t rows_per_image = 0) {
  SCOPED_TRACE(testing::Message() << rows << " x " << channels << (affine ? " affine" : "") << " in images of " << rows_per_image);
  const Rows x = Rows(in, rows, channels, 3).random(1, 0.5, 2);
  const int64_t images = rows_per_image ? rows / rows_per_image : 1;
  const auto gamma = random_floats(images * (channels + 3), 3, 1, 0.2), beta = random_floats(images * channels, 4);
  Rows y(out, rows, channels, 2);
  RowNorm norm{x.in(), rows, channels, affine ? gamma.data() : nullptr, affine && !rms ? beta.data() : nullptr, 1e-5f};
  norm.rows_per_image = rows_per_image, norm.gamma_stride = channels + 3, norm.beta_stride = channels;
  const auto run = rms ? rms_norm : layer_norm;
  EXPECT_EQ(run(norm, y.out(), nullptr), kNoBadRow);
  EXPECT_TRUE(y.untouched());
  Rows q(DType::uint8, rows, channels, 7);
  std::vector<RowScale> scale(static_cast<size_t>(rows));
  EXPECT_EQ(run(norm, q.out(scale.data()), nullptr), kNoBadRow);
  for (int64_t r = 0; r < rows; ++r) {
    RowNorm of_row = norm;
    if (rows_per_image && norm.gamma) of_row.gamma += r / rows_per_image * norm.gamma_stride;
    if (rows_per_image && norm.beta) of_row.beta += r / rows_per_image * norm.beta_stride;
    const RowOracle want = row_norm_oracle(of_row, x, r, rms);
    for (int64_t c = 0; c < channels; ++c) {
      ASSERT_NEAR(y(r, c), want.value[c], want.tolerance[c] + rounding(want.value[c], out)) << r << ", " << c;
      ASSERT_NEAR(dequantized(q, scale, r, c), want.value[c], want.tolerance[c] + scale[r].scale * (0.5 + 512 * kUnit)) << r << ", " << c;
    }
  }
}

TEST(RowNorm, equals_the_double_oracle) {
  at_every_isa([&] {
    for_dtype_pairs([&](DType in, DType out) {
      for (bool rms : {false, true}) {
        check_row_norm(rms, in, out, 5, 77, true);
        check_row_norm(rms, in, out, 3, 1280, false);
      }
    });
    check_row_norm(false, bfloat16, float32, 2, 20000, true);  // longer than the row buffer
    check_row_norm(true, float32, bfloat16, 2, 16385, true);
    check_row_norm(false, float32, float32, 300, 640, true);  // shared by threads
    check_row_norm(false, float32, float32, 4, 1, true);
  });
}

TEST(RowNorm, weights_of_each_image) {
  at_every_isa([&] {
    check_row_norm(false, bfloat16, bfloat16, 6, 77, true, 2);
    check_row_norm(true, float32, float32, 6, 77, true, 3);
    check_row_norm(false, float32, bfloat16, 300, 640, true, 100);  // an image is shared by threads, and a thread has parts of two
  });
}

// A product of the table's entries, which is exact, a sum of two, and what the norm's values are off by.
void check_heads(bool rms, DType in, DType out, int64_t heads, int64_t channels, bool affine, bool turned) {
  SCOPED_TRACE(testing::Message() << heads << " heads of " << channels << (affine ? " affine" : "") << (turned ? " turned" : ""));
  constexpr int64_t kImages = 2, kTokens = 5;
  Rows x = Rows(in, kImages * kTokens, heads * channels, 3).random(1, 0.5, 2), y(out, x.rows, x.channels, 2);
  const auto gamma = random_floats(channels, 3, 1, 0.2), beta = random_floats(channels, 4), table = random_floats(kTokens * channels, 5);
  RowNorm norm{.x = x.in(), .rows = x.rows, .channels = channels, .gamma = affine ? gamma.data() : nullptr, .eps = 1e-6f, .heads = heads};
  if (affine && !rms) norm.beta = beta.data();
  if (turned) norm.rotation = {table.data(), kTokens};
  EXPECT_EQ((rms ? rms_norm : layer_norm)(norm, y.out(), nullptr), kNoBadRow);
  EXPECT_TRUE(y.untouched());
  for (int64_t r = 0; r < x.rows; ++r)
    for (int64_t h = 0; h < heads; ++h) {
      Rows head(in, 1, channels);
      for (int64_t c = 0; c < channels; ++c) head.set(0, c, static_cast<float>(x(r, h * channels + c)));
      RowOracle want = row_norm_oracle(norm, head, 0, rms);
      for (int64_t c = 0; turned && c < channels; c += 2) {
        const auto at = [&](std::vector<double>& v, int64_t i) -> double& { return v[static_cast<size_t>(c + i)]; };
        const float* pair = table.data() + r % kTokens * channels + c;
        const double cos = pair[0], sin = pair[1], a = at(want.value, 0), b = at(want.value, 1), ta = at(want.tolerance, 0),
                     tb = at(want.tolerance, 1);
        at(want.value, 0) = a * cos - b * sin;
        at(want.value, 1) = b * cos + a * sin;
        at(want.tolerance, 0) = std::abs(cos) * ta + std::abs(sin) * tb + 2 * kUnit * (std::abs(a * cos) + std::abs(b * sin));
        at(want.tolerance, 1) = std::abs(cos) * tb + std::abs(sin) * ta + 2 * kUnit * (std::abs(b * cos) + std::abs(a * sin));
      }
      for (int64_t c = 0; c < channels; ++c) {
        const double value = want.value[static_cast<size_t>(c)];
        ASSERT_NEAR(y(r, h * channels + c), value, want.tolerance[static_cast<size_t>(c)] + rounding(value, out)) << r << ", " << h << ", " << c;
      }
    }
}

TEST(RowNorm, heads_and_their_rotation_in_one_trip) {
  at_every_isa([&] {
    for_dtype_pairs([&](DType in, DType out) {
      check_heads(true, in, out, 3, 128, true, true);
      check_heads(false, in, out, 2, 64, false, false);
    });
    check_heads(true, bfloat16, bfloat16, 5, 36, true, true);  // no multiple of a vector
    check_heads(true, float32, float32, 1, 42, true, true);
    check_heads(true, float32, bfloat16, 4, 20, false, true);
    check_heads(false, bfloat16, float32, 3, 77, true, false);
    check_heads(false, float32, float32, 1, kLongestHead, true, true);
  });
}

TEST(RowNorm, turned_heads_may_replace_their_input) {
  at_every_isa([&] {
    const Rows x = Rows(bfloat16, 4, 3 * 40).random(1);
    const auto gamma = random_floats(40, 3, 1, 0.2), table = random_floats(4 * 40, 5);
    RowNorm norm{.x = x.in(), .rows = 4, .channels = 40, .gamma = gamma.data(), .heads = 3, .rotation = {table.data(), 4}};
    Rows a = x, want(bfloat16, 4, 3 * 40);
    rms_norm(norm, want.out());
    norm.x = a.in();
    rms_norm(norm, a.out());
    EXPECT_EQ(a.bytes, want.bytes);
  });
}

TEST(RowNorm, the_result_may_replace_its_input) {
  at_every_isa([&] {
    for (int64_t channels : {100, 17000}) {
      const Rows x = Rows(float32, 2, channels).random(1);
      Rows a = x, want(float32, 2, channels);
      layer_norm({x.in(), 2, channels}, want.out());
      layer_norm({a.in(), 2, channels}, a.out());
      EXPECT_EQ(a.bytes, want.bytes);
    }
  });
}

TEST(RowNorm, names_the_first_row_that_cannot_be_quantized) {
  at_every_isa([&] {
    Rows x = Rows(bfloat16, 400, 320).random(1), q(DType::uint8, 400, 320);
    std::vector<RowScale> scale(400);
    x.set(390, 7, NAN);
    x.set(123, 319, INFINITY);
    EXPECT_EQ(layer_norm({x.in(), 400, 320}, q.out(scale.data())), 123);
    EXPECT_EQ(quantize_rows(x.in(), 400, 320, q.out(scale.data())), 123);
    for (int64_t r = 0; r < 400; ++r) EXPECT_EQ(std::isnan(scale[static_cast<size_t>(r)].scale), r == 390 || r == 123);
    EXPECT_EQ(q.bytes[390 * 320], 0);
  });
}

TEST(Quantize, rounds_to_the_nearest_step) {
  at_every_isa([&] {
    for (DType in : kFloats) {
      for (int64_t channels : {1, 15, 64, 1000, 17001}) {
        // Rows on both sides of 0, of zeros, above 0 alone and below it alone.
        Rows x = Rows(in, 5, channels, 1).random(7), q(DType::uint8, 5, channels, 9);
        for (int64_t c = 0; c < channels; ++c) {
          x.set(2, c, 0);
          x.set(3, c, static_cast<float>(std::abs(x(3, c))));
          x.set(4, c, static_cast<float>(-std::abs(x(4, c))));
        }
        std::vector<RowScale> scale(5);
        EXPECT_EQ(quantize_rows(x.in(), 5, channels, q.out(scale.data())), kNoBadRow);
        EXPECT_TRUE(q.untouched());
        for (int64_t r = 0; r < 5; ++r) {
          double above = 0, below = 0;
          for (int64_t c = 0; c < channels; ++c) above = std::max(above, x(r, c)), below = std::max(below, -x(r, c));
          const RowScale& row = scale[static_cast<size_t>(r)];
          EXPECT_NEAR(row.scale, (above + below) / 254.9, (above + below) / 254.9 * 3 * kUnit);
          EXPECT_NEAR(row.zero, row.scale > 0 ? below / static_cast<double>(row.scale) : 0, 0.5 + 512 * kUnit);
          for (int64_t c = 0; c < channels; ++c) ASSERT_NEAR(dequantized(q, scale, r, c), x(r, c), row.scale * (0.5 + 512 * kUnit));
        }
      }
    }
  });
}

// |v| * 2 units for the scaled argument, which exp turns relative, 2 of exp, the sum's chain, the division.
TEST(Softmax, equals_the_double_oracle) {
  at_every_isa([&] {
    for_dtype_pairs([&](DType in, DType out) {
      for (int64_t channels : {1, 77, 4096, 16400}) {
        const Rows x = Rows(in, 3, channels, 2).random(3, 0, 4);
        Rows y(out, 3, channels, 1);
        const float scale = 0.125f;
        softmax_rows(x.in(), 3, channels, scale, y.out());
        EXPECT_TRUE(y.untouched());
        for (int64_t r = 0; r < 3; ++r) {
          double largest = -INFINITY, sum = 0;
          for (int64_t c = 0; c < channels; ++c) largest = std::max(largest, x(r, c) * scale);
          for (int64_t c = 0; c < channels; ++c) sum += std::exp(x(r, c) * scale - largest);
          for (int64_t c = 0; c < channels; ++c) {
            const double argument = x(r, c) * scale - largest, want = std::exp(argument) / sum;
            const double relative = kUnit * (2 * std::abs(argument) + 2 * std::abs(largest) + 8 + static_cast<double>(channels) / 16);
            ASSERT_NEAR(y(r, c), want, want * relative + rounding(want, out)) << r << ", " << c;
          }
        }
      }
    });
  });
}

TEST(Softmax, masked_and_nan_rows) {
  at_every_isa([&] {
    Rows x = Rows(float32, 3, 37).random(3);
    for (int64_t c = 20; c < 37; ++c) x.set(0, c, -INFINITY);
    for (int64_t c = 0; c < 37; ++c) x.set(1, c, -INFINITY);
    x.set(2, 5, NAN);
    softmax_rows(x.in(), 3, 37, 1.f, x.out());
    for (int64_t c = 0; c < 37; ++c) {
      EXPECT_EQ(x(0, c) == 0, c >= 20);
      EXPECT_TRUE(std::isnan(x(1, c)));
      EXPECT_TRUE(std::isnan(x(2, c)));
    }
  });
}

}  // namespace
}  // namespace vivace::cpu
