// The GEMM by Strassen's algorithm: equal to the plain one where sums are exact, and within the error it states elsewhere.
#include "gemm_problem.h"

namespace vivace::cpu::gemm_test {
namespace {

using Strassen = AtEveryLevel;
INSTANTIATE_TEST_SUITE_P(Levels, Strassen, testing::Values(Isa::avx2, Isa::avx2_vnni, Isa::avx512, Isa::avx512_vnni, Isa::avx512_bf16, Isa::amx),
                         [](const auto& info) { return std::string(isa_name(info.param)); });

bool refuses(GemmSpec spec) {
  spec.strassen = true;
  return gemm_refuse(spec, isa()).has_value();
}

// Bit for bit the plain result, for every blocking.
void equals_plain(const Case& c, const std::vector<GemmBlocking>& blockings = {{}}) {
  SCOPED_TRACE(describe(c, isa()));
  Layer layer(c);
  const Buffer plain = layer.run({});
  layer.use_strassen();
  for (const GemmBlocking& b : blockings) {
    const Buffer result = layer.run(b);
    ASSERT_EQ(std::memcmp(result.bytes.get(), plain.bytes.get(), static_cast<size_t>(plain.size) * dtype_size(plain.dtype)), 0)
        << b.tiles << ", " << b.panels << ", " << b.units;
  }
}

TEST_P(Strassen, KeepsWholeNumbers) {
  int accepted = 0;
  for (Compute compute : {Compute::f32, Compute::bf16}) {
    for (DType a : {float32, bfloat16, float16}) {
      for (DType w : {float32, bfloat16, float16, DType::float8_e4m3, DType::int8}) {
        for (bool geglu : {false, true}) {
          GemmSpec spec = make(128, 96, compute, a, w, a == float16 ? float32 : bfloat16);
          spec.geglu = geglu, spec.act = geglu ? Act::gelu : Act::none;
          if (gemm_refuse(spec, isa()) || refuses(spec)) continue;
          ++accepted;
          equals_plain({.spec = spec, .m = 137, .bias = true, .residual = true, .whole = true});
          if (HasFatalFailure()) return;
        }
      }
    }
  }
  // 3 a x 5 w in float32 at every level; 3 x 4 in bf16 where these are float32 products; each with GEGLU too.
  EXPECT_EQ(accepted, isa() >= Isa::avx512_bf16 ? 30 : 30 + 24);
}

TEST_P(Strassen, KeepsIntegersOf16Bits) {
  for (bool geglu : {false, true}) {
    GemmSpec spec = make(128, 512, Compute::int16_dynamic, bfloat16, bfloat16, float32);
    spec.geglu = geglu, spec.act = geglu ? Act::gelu : Act::none;
    equals_plain({.spec = spec, .m = 140, .w_given = bfloat16, .bias = true});
    // Whole numbers up to 3: every step is one of the largest.
    equals_plain({.spec = make(64, 2560, Compute::int16_dynamic, float16, float32, float32), .m = 129, .whole = true});
  }
}

TEST_P(Strassen, GatesOfImages) {
  GemmSpec spec = make(128, 96, Compute::f32, float32, float32, float32);
  spec.rows_per_gate = 50;
  equals_plain({.spec = spec, .m = 150, .bias = true, .residual = true, .whole = true});
}

TEST_P(Strassen, EveryNumberOfRows) {
  for (int64_t m = 120; m <= 190; ++m) {
    equals_plain({.spec = make(128, 64, Compute::f32, bfloat16, bfloat16, float32), .m = m, .bias = true, .whole = true});
    if (HasFatalFailure()) return;
  }
}

TEST_P(Strassen, EveryBlocking) {
  std::vector<GemmBlocking> blockings;
  for (int tiles : {2, 4, 50})
    for (int panels : {2, 6, 50})
      for (int units : {16, 48, 1000}) blockings.push_back({.tiles = tiles, .panels = panels, .units = units});
  const GemmSpec spec = make(320, 416, Compute::f32, float16, float16, float16);
  equals_plain({.spec = spec, .m = 161, .residual = true, .in_place = true, .whole = true}, blockings);
  equals_plain({.spec = spec, .m = 200, .whole = true}, gemm_blocking_candidates(spec, 200, isa(), num_threads()));
}

TEST_P(Strassen, PacksALargeAInParts) {
  set_num_threads(2);
  equals_plain({.spec = make(64, 5120, Compute::f32, bfloat16, bfloat16, float32), .m = 1300, .whole = true});
}

TEST_P(Strassen, EveryNumberOfThreads) {
  for (int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    equals_plain({.spec = make(640, 64, Compute::f32, float32, DType::int8, bfloat16), .m = 200, .bias = true, .whole = true});
  }
}

TEST_P(Strassen, ErrorIsWhatItStates) {
  for (int64_t k : {320, 1280, 5120}) {
    const Case c{.spec = make(128, k, Compute::f32, float32, bfloat16, float32), .m = 144, .w_given = bfloat16};
    Layer layer(c);
    const double plain = layer.relative_error(layer.run({}));
    layer.use_strassen();
    const double error = layer.relative_error(layer.run({}));
    GemmSpec spec = c.spec;
    spec.strassen = true;
    EXPECT_LE(error, gemm_strassen_error(spec)) << k;
    EXPECT_GE(error, 0.3 * gemm_strassen_error(spec)) << k << ": states too much";
    EXPECT_LE(error, 6 * plain) << k;
    std::printf("k %ld: plain %.3g, Strassen %.3g\n", static_cast<long>(k), plain, error);
  }
}

TEST_P(Strassen, NotANumberShows) {
  Case c{.spec = make(128, 64, Compute::f32, bfloat16, bfloat16, float32), .m = 133};
  c.spec.strassen = true;
  Buffer a(bfloat16, 133 * 64), w(float32, 128 * 64), out(float32, 133 * 128);
  for (int64_t i = 0; i < a.size; ++i) a.set(i, 1);
  a.set(132 * 64 + 63, std::numeric_limits<double>::quiet_NaN());
  Aligned packed(gemm_packed_bytes(c.spec)), workspace(gemm_workspace_bytes(c.spec, 133, num_threads()));
  gemm_pack(c.spec, w.data(), float32, packed.p);
  gemm(c.spec, {.packed = packed.p, .a = a.data(), .lda = 64, .m = 133, .c = out.data(), .ldc = 128, .workspace = workspace.p});
  for (int64_t j = 0; j < 128; ++j) EXPECT_TRUE(std::isnan(out[132 * 128 + j]));
}

TEST(StrassenRefuse, SaysWhy) {
  auto refused = [](GemmSpec spec, Isa level) {
    spec.strassen = true;
    return gemm_refuse(spec, level).value_or("");
  };
  const GemmSpec good = make(64, 64, Compute::bf16, bfloat16, bfloat16, bfloat16);
  EXPECT_EQ(refused(good, Isa::avx2), "");
  EXPECT_EQ(refused(good, Isa::baseline), "needs AVX2 and FMA");
  EXPECT_EQ(refused(good, Isa::avx512_bf16), "bfloat16 products would round the sums of blocks");
  EXPECT_EQ(refused(make(64, 64, Compute::int8_dynamic, bfloat16, DType::int8, bfloat16), Isa::avx2),
            "8-bit products cannot hold the sums of blocks");
  EXPECT_EQ(refused(make(64, 64, Compute::f32, float32, float32, float32), Isa::avx2), "");
  EXPECT_EQ(refused(make(64, 48, Compute::bf16, bfloat16, bfloat16, bfloat16), Isa::avx2), "needs k to be a multiple of 32, not 48");
  EXPECT_EQ(refused(make(48, 64, Compute::bf16, bfloat16, bfloat16, bfloat16), Isa::avx2), "needs an even number of panels of 16 columns, not 3");
  GemmSpec spec = good;
  spec.separate_epilogue = true;
  EXPECT_EQ(refused(spec, Isa::avx2), "decodes W and applies the epilogue inside the GEMM only");
}

}  // namespace
}  // namespace vivace::cpu::gemm_test
