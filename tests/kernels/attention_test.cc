// Every backend, dtype and instruction set against an oracle in float64, with bounds that follow from the arithmetic.
#include <cstring>

#include "attention_case.h"

namespace vivace::cpu {
namespace {

constexpr DType kDTypes[] = {float32, bfloat16, float16};

std::string describe(const AttentionShape& s, const AttentionBackend& backend) {
  return std::string(isa_name(isa())) + " " + std::string(backend.name) + " " + std::string(dtype_name(s.dtype)) + " b" + std::to_string(s.batch) +
         " h" + std::to_string(s.heads) + " q" + std::to_string(s.q_len) + " kv" + std::to_string(s.kv_len) + " d" + std::to_string(s.head_dim) +
         (s.causal ? " causal" : "") + (s.mask ? " mask" : "");
}

AttentionShape make_shape(int64_t batch, int64_t heads, int64_t q, int64_t kv, int64_t d, DType dtype, bool causal = false, bool mask = false) {
  return {batch, heads, q, kv, d, dtype, causal, mask, 1.f / std::sqrt(static_cast<float>(d))};
}

// body() at every level this machine has.
template <class Body>
void at_every_level(const Body& body) {
  for (int level = 0; level <= static_cast<int>(kHighestIsa); ++level) {
    if (!has_isa(static_cast<Isa>(level))) continue;
    limit_isa(static_cast<Isa>(level));
    body();
  }
  limit_isa(kHighestIsa);
}

// The case on every backend that takes it, at every level; fails when fewer than `least` backends ran.
void check_everywhere(Case& c, int least) {
  c.solve();
  at_every_level([&] {
    int ran = 0;
    for (const AttentionBackend& backend : attention_backends()) {
      if (backend.refuse(c.shape, isa())) continue;
      c.run(backend);
      c.check(describe(c.shape, backend), backend);
      ++ran;
    }
    EXPECT_GE(ran, isa() == Isa::baseline ? std::min(least, 2) : least);
  });
}

TEST(Attention, SizesOfHeadsQueriesAndKeys) {
  const int64_t sizes[][5] = {
      // batch, heads, queries, keys, head size
      {1, 2, 64, 64, 64},   {2, 3, 50, 77, 64},   {1, 1, 1, 1, 8},     {1, 1, 1, 33, 16},    {1, 2, 15, 31, 32},  {1, 2, 29, 65, 40},
      {2, 2, 57, 96, 48},   {1, 1, 13, 130, 80},  {1, 1, 43, 100, 96}, {1, 2, 20, 150, 128}, {1, 1, 17, 77, 160}, {1, 1, 30, 200, 256},
      {1, 1, 31, 161, 512}, {1, 1, 30, 1100, 64}, {1, 1, 9, 577, 72},  {1, 1, 100, 544, 24},
  };
  for (const DType dtype : kDTypes) {
    for (const auto& n : sizes) {
      Case c(make_shape(n[0], n[1], n[2], n[3], n[4], dtype));
      check_everywhere(c, 3);
    }
  }
}

TEST(Attention, HeadSizesThatFlashRefuses) {
  for (const DType dtype : kDTypes) {
    for (const int64_t d : {1, 2, 5, 17, 33, 63, 100, 520}) {
      Case c(make_shape(1, 2, 19, 70, d, dtype));
      check_everywhere(c, 2);
    }
  }
}

TEST(Attention, Causal) {
  for (const DType dtype : kDTypes) {
    for (const auto& [q, kv] : {std::pair<int64_t, int64_t>{77, 77}, {1, 5}, {100, 40}, {40, 100}, {130, 600}, {600, 600}}) {
      Case c(make_shape(1, 2, q, kv, 32, dtype, true));
      check_everywhere(c, 3);
    }
  }
}

TEST(Attention, Masks) {
  for (const DType dtype : kDTypes) {
    for (const auto& [q, kv] : {std::pair<int64_t, int64_t>{20, 77}, {3, 1}, {33, 600}}) {
      for (const bool causal : {false, true}) {
        Case c(make_shape(2, 2, q, kv, 40, dtype, causal, true));
        // One row sees nothing, one only the last key, one nothing in its first blocks.
        for (int64_t j = 0; j < kv; ++j) {
          c.mask[j] = -kInf;
          if (q > 2 && j + 1 < kv) c.mask[c.args.mask_query + j] = c.mask[2 * c.args.mask_query + j] = -kInf;
        }
        check_everywhere(c, 2);
      }
    }
  }
}

TEST(Attention, MaskStridesBroadcast) {
  Case c(make_shape(2, 3, 10, 50, 16, float32, false, true));
  // One row of keys for everything; then one a head.
  c.args.mask_batch = c.args.mask_query = 0;
  check_everywhere(c, 2);
  c.args.mask_head = 51;
  check_everywhere(c, 2);
}

TEST(Attention, LargeScoresAndBadGuesses) {
  for (const DType dtype : kDTypes) {
    for (const bool causal : {false, true}) {
      // Scores in the thousands; then keys whose first 64 are far below all later ones; then the other way round; then a slow rise.
      for (int kind = 0; kind < 4; ++kind) {
        const AttentionShape s = make_shape(1, 1, 90, 700, 64, dtype, causal);
        Case c(s, 7, kind == 0 ? 16.f : 1.f);
        for (int64_t j = 0; kind > 0 && j < s.kv_len; ++j) {
          for (int64_t i = 0; i < s.heads * s.head_dim; ++i) {
            const size_t at = c.k_at(0, j, 0) + i;
            const float factor = kind == 1 ? (j < 64 ? -1.f : 1.f) : kind == 2 ? (j < 64 ? 1.f : -1.f) : static_cast<float>(j) / 600.f;
            c.kv.set(at, round_to(dtype, 60.f * factor * std::abs(c.kv.get(at))));
          }
        }
        for (int64_t i = 0; kind > 0 && i < s.q_len; ++i) {
          for (int64_t d = 0; d < s.heads * s.head_dim; ++d) c.q.set(c.q_at(0, i, 0) + d, std::abs(c.q.get(c.q_at(0, i, 0) + d)));
        }
        check_everywhere(c, 3);
      }
    }
  }
}

TEST(Attention, EachWeightAlone) {
  // One key has a value, the others nothing but weight: the output is that key's weight, for scores all over the exponential's range.
  for (const DType dtype : kDTypes) {
    Case c(make_shape(1, 1, 300, 160, 16, dtype));
    c.shape.scale = 1.f;
    for (int64_t d = 0; d < 16; ++d) {
      for (int64_t i = 0; i < 300; ++i) c.q.set(c.q_at(0, i, 0) + d, d == 0 ? static_cast<float>(i - 150) / 15.f : 0.f);
      for (int64_t j = 0; j < 160; ++j) {
        c.kv.set(c.k_at(0, j, 0) + d, j == 150 ? 1.f : 0.f);
        c.kv.set(c.v_at(0, j, 0) + d, j == 150 ? 1.f : 0.f);
      }
    }
    check_everywhere(c, 3);
  }
}

TEST(Attention, LargeValues) {
  // Sums of weights times values would overflow before the division in a row that was guessed badly.
  for (const DType dtype : {float32, bfloat16}) {
    Case c(make_shape(1, 1, 20, 200, 64, dtype));
    for (int64_t j = 0; j < 200; ++j) {
      for (int64_t d = 0; d < 64; ++d) {
        c.kv.set(c.v_at(0, j, 0) + d, 1e36f * c.kv.get(c.v_at(0, j, 0) + d));
        if (j < 64) c.kv.set(c.k_at(0, j, 0) + d, -20.f * std::abs(c.kv.get(c.k_at(0, j, 0) + d)));
        if (j < 20) c.q.set(c.q_at(0, j, 0) + d, std::abs(c.q.get(c.q_at(0, j, 0) + d)));
      }
    }
    check_everywhere(c, 3);
  }
}

TEST(Attention, NegativeAndZeroScale) {
  for (const float scale : {-0.3f, 0.f}) {
    Case c(make_shape(1, 1, 20, 200, 32, float32));
    c.shape.scale = scale;
    check_everywhere(c, 3);
  }
}

TEST(Attention, NanStaysInItsRow) {
  for (const DType dtype : kDTypes) {
    Case c(make_shape(1, 1, 40, 100, 64, dtype));
    c.solve();
    c.q.set(c.q_at(0, 7, 0) + 3, std::numeric_limits<float>::quiet_NaN());
    at_every_level([&] {
      for (const AttentionBackend& backend : attention_backends()) {
        if (backend.refuse(c.shape, isa())) continue;
        c.run(backend);
        for (int64_t i = 0; i < 40; ++i) {
          for (int64_t d = 0; d < 64; ++d) {
            const double got = c.out.get(c.out_at(0, i, 0) + d);
            if (i == 7)
              EXPECT_TRUE(std::isnan(got)) << describe(c.shape, backend);
            else
              EXPECT_LE(std::abs(got - c.expected[i * 64 + d]), c.bound_of(backend)[i * 64 + d]) << describe(c.shape, backend);
          }
        }
      }
    });
  }
}

TEST(Attention, AnyNumberOfThreads) {
  for (const DType dtype : kDTypes) {
    Case c(make_shape(2, 2, 150, 77, 40, dtype));
    at_every_level([&] {
      for (const AttentionBackend& backend : attention_backends()) {
        if (backend.refuse(c.shape, isa())) continue;
        c.run(backend);
        const Buffer first = c.out;
        for (const int threads : {1, 3}) {
          const Attention attention(backend.kind, c.shape, isa(), threads);
          Workspace workspace(attention.workspace_bytes());
          std::memset(workspace.data, 0xff, attention.workspace_bytes());
          for (int64_t t = 0; t < 2 * 150; ++t) {
            for (int64_t i = 0; i < c.width(); ++i) c.out.set(t * c.args.out_strides.token + i, 0.f);
          }
          // The pool may have more threads than it was planned for, or fewer.
          for (const int pool : {1, 4}) {
            set_num_threads(pool);
            attention.run(c.args, workspace.data);
            EXPECT_EQ(first.half, c.out.half) << describe(c.shape, backend) << " threads " << threads << " of " << pool;
            EXPECT_EQ(first.full, c.out.full) << describe(c.shape, backend) << " threads " << threads << " of " << pool;
          }
        }
        set_num_threads(0);
      }
    });
  }
}

// The one wide head of a VAE's attention over the keys of a 1024 x 1024 picture; few queries, so that the oracle is quick.
TEST(Attention, OneHeadOverAllPixels) {
  for (const DType dtype : kDTypes) {
    Case c(make_shape(1, 1, 3, dtype == float32 ? 16384 : 4096, 512, dtype));
    check_everywhere(c, 3);
  }
}

TEST(Attention, MathKeepsToItsSlab) {
  // 16,384 tokens squared would be a gigabyte of scores.
  const AttentionShape s = make_shape(1, 1, 16384, 16384, 512, float32);
  for (const AttentionBackend& backend : attention_backends()) {
    if (backend.refuse(s, isa())) continue;
    const size_t copies = 3 * 16384 * 512 * 4, slab = 64 << 20;
    EXPECT_LE(Attention(backend.kind, s, isa(), 2).workspace_bytes(), copies + slab) << backend.name;
  }
}

struct IntegerBackend {
  const char* name;
  Integers integers;
  double (*error)(int64_t head_dim, int64_t keys);

  const AttentionBackend& backend() const { return *std::ranges::find(attention_backends(), std::string_view(name), &AttentionBackend::name); }
};
const IntegerBackend kIntegerBackends[] = {{"int8", Integers::bytes(), attention_int8_error}, {"int16", Integers::words(), attention_int16_error}};

// On normal numbers, whose scores have a deviation of 1. Plain code has the error on every machine; where there are its instructions, the kernel does
// what that says. What 60 queries have scatters by a tenth, the more the shorter they are, so that several heads are drawn.
TEST(Attention, IntegersErrorIsWhatItStates) {
  for (const int64_t d : {16, 40, 64, 128, 512})
    for (const int64_t keys : {77, 600}) {
      double power = 0, errors[std::size(kIntegerBackends)] = {};
      for (int64_t draw = 0; draw < 512 / d; ++draw) {
        Case c(make_shape(1, 1, 60, keys, d, float32), static_cast<uint32_t>(draw));
        c.solve();
        for (const double x : c.expected) power += x * x;
        for (size_t k = 0; k < std::size(kIntegerBackends); ++k) {
          const IntegerBackend& of = kIntegerBackends[k];
          const std::vector<double> simulated = simulate(of.integers, c);
          for (size_t i = 0; i < simulated.size(); ++i) errors[k] += (simulated[i] - c.expected[i]) * (simulated[i] - c.expected[i]);
          if (draw > 0) continue;
          at_every_level([&] {
            if (of.backend().refuse(c.shape, isa())) return;
            c.run(of.backend());
            double apart = 0, whole = 0;
            for (int64_t i = 0; i < 60; ++i)
              for (int64_t e = 0; e < d; ++e) {
                const double want = simulated[static_cast<size_t>(i * d + e)], off = c.out.get(c.out_at(0, i, 0) + e) - want;
                apart += off * off, whole += want * want;
              }
            // Values that lie between two steps may be rounded the other way; exponentials are off by 1.2e-4 at most, which turns as much again.
            EXPECT_LE(std::sqrt(apart / whole), 0.1 * of.error(d, keys) + 2 * 1.2e-4) << of.name << ' ' << isa_name(isa()) << ' ' << d << ' ' << keys;
          });
        }
      }
      for (size_t k = 0; k < std::size(kIntegerBackends); ++k) {
        const double computed = std::sqrt(errors[k] / power), stated = kIntegerBackends[k].error(d, keys);
        std::printf("%s, head size %ld, %ld keys: %.2e, stated %.2e\n", kIntegerBackends[k].name, static_cast<long>(d), static_cast<long>(keys),
                    computed, stated);
        EXPECT_NEAR(computed, stated, 0.1 * stated) << kIntegerBackends[k].name << ' ' << d << ' ' << keys;
      }
    }
}

// Equal keys have equal weights, so that all sums of a block are the largest there are; and what all keys or all values have in common costs nothing.
TEST(Attention, LargestSumsOfIntegersFitAndMeansAreExact) {
  Case c(make_shape(1, 1, 20, 1000, 64, float32));
  for (int64_t j = 0; j < 1000; ++j)
    for (int64_t d = 0; d < 64; ++d) {
      c.kv.set(c.k_at(0, j, 0) + d, 100.f + static_cast<float>(d));
      c.kv.set(c.v_at(0, j, 0) + d, static_cast<float>(j % 512 < 256 ? d + 1 : -d - 1));  // whole blocks of the largest value
    }
  c.solve();
  for (const IntegerBackend& of : kIntegerBackends) {
    // What is left of a value when the mean of 1000 is out, 1.024 and less, is rounded to half a step.
    const double bound = of.integers.value_step(std::vector<double>(256, 1.024)) / 2 + 1e-4;
    at_every_level([&] {
      if (of.backend().refuse(c.shape, isa())) return;
      c.run(of.backend());
      for (int64_t i = 0; i < 20; ++i)
        for (int64_t d = 0; d < 64; ++d)
          EXPECT_NEAR(c.out.get(c.out_at(0, i, 0) + d), c.expected[i * 64 + d], bound * (d + 1)) << of.name << ' ' << i << ' ' << d;
    });
  }
}

// One key outweighs all others by far, and most of what is attended to lies in the others: each block's weights are relative to its own largest.
TEST(Attention, SmallWeightsOfIntegersAreNotLost) {
  Case c(make_shape(1, 1, 8, 2304, 16, float32));
  c.shape.scale = 1.f;
  for (int64_t d = 0; d < 16; ++d) {
    for (int64_t i = 0; i < 8; ++i) c.q.set(c.q_at(0, i, 0) + d, d == 0 ? 1.f : 0.f);
    // Weights of 1 and of 2304 times e^-10: 1.1 tenths of all.
    for (int64_t j = 0; j < 2304; ++j) {
      c.kv.set(c.k_at(0, j, 0) + d, j == 3 && d == 0 ? 10.f : 0.f);
      c.kv.set(c.v_at(0, j, 0) + d, j == 3 ? 0.f : 1.f);
    }
  }
  c.solve();
  EXPECT_NEAR(c.expected[0], 0.0947, 1e-4);
  for (const IntegerBackend& of : kIntegerBackends)
    at_every_level([&] {
      if (of.backend().refuse(c.shape, isa())) return;
      c.run(of.backend());
      // The 255 in the block of the large one may be lost, a ninth of all, and no more.
      for (int64_t i = 0; i < 8; ++i) EXPECT_NEAR(c.out.get(c.out_at(0, i, 0)), c.expected[i * 16], 0.0947 / 8) << of.name;
    });
}

TEST(Attention, RefusalsSayWhy) {
  const auto backends = attention_backends();
  ASSERT_EQ(backends.size(), 5u);
  EXPECT_EQ(backends[0].name, "int8");
  EXPECT_EQ(backends[1].name, "int16");
  EXPECT_EQ(backends[2].name, "flash");
  EXPECT_EQ(backends[3].name, "efficient");
  EXPECT_EQ(backends[4].name, "math");
  AttentionShape s = make_shape(1, 1, 8, 8, 64, float32);
  for (const AttentionBackend& backend : backends) EXPECT_FALSE(backend.refuse(s, Isa::avx512_vnni));
  EXPECT_EQ(backends[0].refuse(s, Isa::avx512), "int8 needs AVX-512 VNNI");
  EXPECT_EQ(backends[1].refuse(s, Isa::baseline), "int16 needs AVX2");
  EXPECT_EQ(backends[1].refuse(s, Isa::avx512), "without VNNI AVX-512 has no faster products of int16");
  EXPECT_EQ(backends[1].refuse(s, Isa::amx), "the tiles of AMX multiply bfloat16 faster");
  EXPECT_EQ(backends[2].refuse(s, Isa::baseline), "flash needs AVX2");
  s.mask = true;
  EXPECT_EQ(backends[0].refuse(s, Isa::avx512_vnni), "int8 takes no mask, nor a causal one");
  EXPECT_EQ(backends[1].refuse(s, Isa::avx2), "int16 takes no mask, nor a causal one");
  EXPECT_EQ(backends[2].refuse(s, Isa::avx512), "flash takes no mask (causal only)");
  EXPECT_FALSE(backends[3].refuse(s, Isa::baseline));
  s.mask = false;
  s.head_dim = 60;
  EXPECT_EQ(backends[2].refuse(s, Isa::avx512), "head size 60 is not a multiple of 8");
  s.head_dim = 520;
  EXPECT_EQ(backends[2].refuse(s, Isa::avx512), "head size 520 is above 512");
  s.dtype = DType::int8;
  for (const AttentionBackend& backend : backends) EXPECT_EQ(backend.refuse(s, Isa::avx512), "dtype int8 is not float32, bfloat16 or float16");
}

}  // namespace
}  // namespace vivace::cpu
