// The GEMM at every level: types, shapes, epilogues, blockings, threads, and numbers that are none.
#include "gemm_problem.h"

namespace vivace::cpu::gemm_test {
namespace {

using Gemm = AtEveryLevel;
INSTANTIATE_TEST_SUITE_P(Levels, Gemm, testing::Values(Isa::avx2, Isa::avx2_vnni, Isa::avx512, Isa::avx512_vnni, Isa::avx512_bf16, Isa::amx),
                         [](const auto& info) { return std::string(isa_name(info.param)); });

// How W is stored for products of 8 bits, or otherwise.
DType stored_for(Compute compute, DType otherwise) {
  return compute == Compute::int8_dynamic ? DType::int8 : compute == Compute::float8_dynamic ? DType::float8_e4m3 : otherwise;
}

// Every accepted combination of element types.
std::vector<GemmSpec> all_types(int64_t n, int64_t k) {
  std::vector<GemmSpec> specs;
  for (Compute compute : {Compute::f32, Compute::bf16, Compute::bf16x3, Compute::int8_dynamic, Compute::int16_dynamic, Compute::float8_dynamic}) {
    for (DType a : {float32, bfloat16, float16, DType::uint8, DType::int8, DType::float8_e4m3}) {
      for (DType w : {float32, bfloat16, float16, DType::float8_e4m3, DType::int8}) {
        for (DType c : {float32, bfloat16, float16}) {
          const GemmSpec spec = make(n, k, compute, a, w, c);
          if (!gemm_refuse(spec, isa())) specs.push_back(spec);
        }
      }
    }
  }
  return specs;
}

TEST_P(Gemm, EveryTypeCombination) {
  const std::vector<GemmSpec> specs = all_types(45, 71);
  // f32: 3 a x 5 w x 3 c; bf16: 3 x 4 x 3; int8 and float8: 4 x 3 each; int16: 3 x 3 x 3; bf16x3: 3
  EXPECT_EQ(specs.size(), 45u + 36 + 12 + 12 + 27 + (isa() >= Isa::avx512_bf16 ? 3 : 0));
  for (const GemmSpec& spec : specs) {
    check({.spec = spec, .m = 17, .bias = true});
    if (HasFatalFailure()) return;
  }
}

TEST_P(Gemm, EveryTypeOfGivenWeight) {
  for (DType w : {float32, bfloat16, float16, DType::float8_e4m3, DType::int8}) {
    for (DType given : {float32, bfloat16, float16, DType::float64, DType::float8_e4m3, DType::int8}) {
      if (given == DType::int8 && w != DType::int8) continue;
      check({.spec = make(37, 300, Compute::f32, float32, w, float32), .m = 3, .w_given = given});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Gemm, EveryShape) {
  const std::vector<GemmSpec> kinds = {make(1, 1, Compute::f32, float32, float32, float32),
                                       make(1, 1, Compute::bf16, bfloat16, bfloat16, bfloat16),
                                       make(1, 1, Compute::int8_dynamic, bfloat16, DType::int8, bfloat16),
                                       make(1, 1, Compute::float8_dynamic, bfloat16, DType::float8_e4m3, bfloat16),
                                       make(1, 1, Compute::float8_dynamic, DType::float8_e4m3, DType::float8_e4m3, bfloat16),
                                       make(1, 1, Compute::int16_dynamic, bfloat16, bfloat16, bfloat16),
                                       make(1, 1, Compute::bf16, bfloat16, DType::int8, float32),
                                       make(1, 1, Compute::bf16x3, float32, float32, float32)};
  for (GemmSpec spec : kinds) {
    for (int64_t n : {1, 31, 32, 33, 100}) {
      for (int64_t k : {1, 2, 3, 65, 130}) {
        for (int64_t m : {1, 2, 6, 7, 15, 29, 77}) {
          spec.n = n, spec.k = k;
          if (gemm_refuse(spec, isa())) continue;
          check({.spec = spec, .m = m, .bias = true, .residual = true});
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(Gemm, EveryRegisterTile) {
  for (Compute compute : {Compute::f32, Compute::bf16, Compute::int8_dynamic, Compute::int16_dynamic, Compute::float8_dynamic}) {
    const DType w = stored_for(compute, compute == Compute::f32 ? float32 : bfloat16);
    for (int64_t m = 1; m <= 28; ++m) {
      check({.spec = make(64, 52, compute, float32, w, float32), .m = m});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Gemm, EveryEpilogue) {
  for (DType c : {float32, bfloat16, float16}) {
    for (Compute compute : {Compute::f32, Compute::int8_dynamic, Compute::int16_dynamic, Compute::float8_dynamic}) {
      const DType w = stored_for(compute, float16);
      for (int options = 0; options < 16; ++options) {
        Case x{.spec = make(50, 40, compute, float32, w, c), .m = 18, .bias = (options & 1) != 0, .residual = (options & 2) != 0};
        x.in_place = x.residual && (options & 4);
        for (int act = 0; act < 6; ++act) {
          x.spec.act = static_cast<Act>(act);
          check(x);
        }
        x.spec.geglu = true;
        for (Act act : {Act::gelu, Act::gelu_tanh, Act::silu}) {
          x.spec.act = act;
          for (int64_t n : {2, 50, 64}) {
            x.spec.n = n;
            check(x);
          }
        }
        x.spec = make(50, 40, compute, float32, w, c);
        for (int64_t rows : {18, 5}) {  // for all; a register tile has rows of several
          x.spec.rows_per_gate = rows;
          check(x);
        }
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(Gemm, EveryBlocking) {
  std::vector<GemmBlocking> blockings;
  for (int tiles : {1, 3, 50}) {
    for (int panels : {1, 2, 50}) {
      for (int units : {8, 64, 1000}) {
        for (int flags = 0; flags < 4; ++flags) blockings.push_back({tiles, panels, units, (flags & 1) != 0, (flags & 2) != 0});
      }
    }
  }
  for (Compute compute : {Compute::f32, Compute::bf16, Compute::bf16x3, Compute::int8_dynamic, Compute::int16_dynamic, Compute::float8_dynamic}) {
    for (DType w : {float32, bfloat16, DType::float8_e4m3, DType::int8}) {
      GemmSpec spec = make(132, compute == Compute::bf16x3 ? 90 : 410, compute, compute == Compute::bf16 ? bfloat16 : float32, w, float32);
      spec.geglu = w == bfloat16, spec.act = spec.geglu ? Act::gelu : Act::none;
      if (gemm_refuse(spec, isa())) continue;
      check_blockings({.spec = spec, .m = 61, .bias = true}, blockings);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Gemm, EveryCandidateBlockingOfALongShape) {
  const GemmSpec spec = make(320, 2560, Compute::bf16, bfloat16, bfloat16, bfloat16);
  const std::vector<GemmBlocking> candidates = gemm_blocking_candidates(spec, 100, isa(), num_threads());
  EXPECT_GT(candidates.size(), 4u);
  check_blockings({.spec = spec, .m = 100}, candidates);
}

TEST_P(Gemm, EveryNumberOfThreads) {
  for (int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    for (DType a : {float32, DType::uint8}) {
      check({.spec = make(96, 64, Compute::int8_dynamic, a, DType::int8, float32), .m = 55, .bias = true});
      check({.spec = make(96, 64, Compute::bf16, bfloat16, float16, float32), .m = 55, .bias = true});
      check({.spec = make(96, 65, Compute::int16_dynamic, bfloat16, float16, float32), .m = 55, .bias = true});
      check({.spec = make(640, 40, Compute::f32, bfloat16, float32, bfloat16), .m = 200, .bias = true, .residual = true, .in_place = true});
    }
  }
}

TEST_P(Gemm, NotANumberStaysInItsRow) {
  const GemmSpec spec = make(40, 33, Compute::bf16, bfloat16, bfloat16, float32);
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Buffer a(bfloat16, 20 * 33), w(float32, 40 * 33), c(float32, 20 * 40);
    for (int64_t i = 0; i < a.size; ++i) a.set(i, 1);
    for (int64_t i = 0; i < w.size; ++i) w.set(i, 0.5);
    a.set(6 * 33 + 32, bad);  // the last element of an odd row: its neighbour in the unit is padding
    Aligned packed(gemm_packed_bytes(spec)), workspace(gemm_workspace_bytes(spec, 20, num_threads()));
    gemm_pack(spec, w.data(), float32, packed.p);
    EXPECT_EQ(gemm(spec, {.packed = packed.p, .a = a.data(), .lda = 33, .m = 20, .c = c.data(), .ldc = 40, .workspace = workspace.p}), -1);
    for (int64_t i = 0; i < c.size; ++i) {
      if (i / 40 == 6) {
        EXPECT_EQ(std::isnan(c[i]), std::isnan(bad));
        EXPECT_FALSE(std::isfinite(c[i]));
      } else {
        EXPECT_EQ(c[i], 16.5);
      }
    }
  }
}

TEST_P(Gemm, ActivationsOfExtremeArguments) {
  // k = 1, w = 1: C is the activation of A.
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> x = {0, -0.f, 1e-30f, 30, -30, 88, -88, 100, -100, 1e4f, -1e4f, 1e38f, -1e38f, inf, nan};
  for (int act = 0; act < 6; ++act) {
    GemmSpec spec = make(1, 1, Compute::f32, float32, float32, float32);
    spec.act = static_cast<Act>(act);
    const float one = 1;
    std::vector<float> c(x.size());
    Aligned packed(gemm_packed_bytes(spec)), workspace(gemm_workspace_bytes(spec, static_cast<int64_t>(x.size()), num_threads()));
    gemm_pack(spec, &one, float32, packed.p);
    gemm(spec, {.packed = packed.p, .a = x.data(), .lda = 1, .m = static_cast<int64_t>(x.size()), .c = c.data(), .ldc = 1, .workspace = workspace.p});
    for (size_t i = 0; i < x.size(); ++i) {
      SCOPED_TRACE(std::to_string(act) + " of " + std::to_string(x[i]));
      if (std::isnan(x[i])) {
        EXPECT_TRUE(std::isnan(c[i]));
      } else if (x[i] >= 30) {
        EXPECT_EQ(c[i], x[i]);
      } else {
        const double y = activate(spec.act, x[i]);
        // Below, the exact value is 0 in float32; what is left of it is at most the argument times the smallest normal numbers.
        EXPECT_NEAR(c[i], y, activation_error(spec.act, x[i], y) * (spec.act == Act::gelu && x[i] < -20 ? 0 : 1) + std::fabs(x[i]) * 0x1p-124);
      }
    }
  }
}

TEST_P(Gemm, QuantizationFindsTheFirstBadRow) {
  for (DType dtype : {float32, bfloat16, float16}) {
    for (float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      set_num_threads(2);
      for (Compute compute : {Compute::int8_dynamic, Compute::float8_dynamic}) {
        GemmSpec spec = make(33, 37, compute, dtype, stored_for(compute, float32), float32);
        Buffer a(dtype, 600 * 37), w(float32, 33 * 37), c(float32, 600 * 33);
        for (int64_t i = 0; i < a.size; ++i) a.set(i, 1);
        for (int64_t row : {599, 311, 123}) a.set(row * 37 + row % 37, bad);
        Aligned packed(gemm_packed_bytes(spec)), workspace(gemm_workspace_bytes(spec, 600, num_threads()));
        gemm_pack(spec, w.data(), float32, packed.p);
        GemmCall call{.packed = packed.p, .a = a.data(), .lda = 37, .m = 600, .c = c.data(), .ldc = 33, .workspace = workspace.p};
        EXPECT_EQ(gemm(spec, call), 123);
        for (int64_t row = 0; row < 600; ++row) EXPECT_EQ(std::isnan(c[row * 33 + 5]), row == 599 || row == 311 || row == 123) << row;
      }
    }
  }
}

TEST_P(Gemm, TakesQuantizedWeightsWithScales) {
  for (Compute compute : {Compute::f32, Compute::int8_dynamic}) {
    const GemmSpec spec = make(35, 20, compute, float32, DType::int8, float32);
    Buffer a(float32, 20), w(DType::int8, 35 * 20), scale(float32, 35), c(float32, 35);
    for (int64_t j = 0; j < 20; ++j) a.set(j, j % 2 ? 127 : -127);
    // No pair of one sign above 128, which not every level could keep.
    for (int64_t i = 0; i < w.size; ++i) w.set(i, (i % 2 ? -1 : 1) * (static_cast<double>(i * 37 % 128)));
    for (int64_t i = 0; i < 35; ++i) scale.set(i, std::ldexp(1.0, static_cast<int>(i) - 17));
    Aligned packed(gemm_packed_bytes(spec)), workspace(gemm_workspace_bytes(spec, 1, num_threads()));
    gemm_pack(spec, w.data(), DType::int8, packed.p, static_cast<float*>(scale.data()));
    gemm(spec, {.packed = packed.p, .a = a.data(), .lda = 20, .m = 1, .c = c.data(), .ldc = 35, .workspace = workspace.p});
    std::vector<double> row;
    for (int64_t j = 0; j < 20; ++j) row.push_back(a[j]);
    if (compute == Compute::int8_dynamic) round_to_bytes(row);
    for (int64_t i = 0; i < 35; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < 20; ++j) sum += row[static_cast<size_t>(j)] * w[i * 20 + j];
      // Integers below 2^24 times powers of two, but for a row's scale.
      EXPECT_NEAR(c[i], sum * scale[i], compute == Compute::int8_dynamic ? 2 * kF32 * std::fabs(sum) * scale[i] : 0);
    }
  }
}

// The largest factors of each sign, in pairs that int16 cannot hold as they are given.
TEST_P(Gemm, NoSumOf8BitProductsSaturates) {
  for (int weight : {-128, -127, 127}) {
    for (int value : {0, 255}) {
      const GemmSpec spec = make(33, 64, Compute::int8_dynamic, DType::uint8, DType::int8, float32);
      const RowScale a_scale{0.25f, 128};
      Buffer a(DType::uint8, 64), w(DType::int8, 33 * 64), w_scale(float32, 33), c(float32, 33);
      for (int64_t i = 0; i < 64; ++i) a.set(i, value);
      for (int64_t i = 0; i < w.size; ++i) w.set(i, weight);
      for (int64_t i = 0; i < 33; ++i) w_scale.set(i, 0.5);
      Aligned packed(gemm_packed_bytes(spec)), workspace(gemm_workspace_bytes(spec, 1, num_threads()));
      gemm_pack(spec, w.data(), DType::int8, packed.p, static_cast<float*>(w_scale.data()));
      gemm(spec, {.packed = packed.p, .a = a.data(), .lda = 64, .a_scale = &a_scale, .m = 1, .c = c.data(), .ldc = 33, .workspace = workspace.p});
      const double sum = 64.0 * weight * (value - a_scale.zero) / 8;
      for (int64_t i = 0; i < 33; ++i) EXPECT_NEAR(c[i], sum, std::fabs(sum) / 127) << weight << " x " << value;
    }
  }
}

TEST_P(Gemm, NoNumberInWeightsShows) {
  for (DType w : {DType::int8, DType::float8_e4m3, bfloat16}) {
    const GemmSpec spec = make(5, 8, Compute::f32, float32, w, float32);
    Buffer a(float32, 8), given(float32, 5 * 8), c(float32, 5);
    for (int64_t i = 0; i < 8; ++i) a.set(i, 1);
    given.set(2 * 8 + 3, std::numeric_limits<double>::quiet_NaN());
    Aligned packed(gemm_packed_bytes(spec)), workspace(gemm_workspace_bytes(spec, 1, num_threads()));
    gemm_pack(spec, given.data(), float32, packed.p);
    gemm(spec, {.packed = packed.p, .a = a.data(), .lda = 8, .m = 1, .c = c.data(), .ldc = 5, .workspace = workspace.p});
    for (int64_t i = 0; i < 5; ++i) EXPECT_EQ(std::isnan(c[i]), i == 2);
  }
}

TEST(GemmRefuse, SaysWhy) {
  const GemmSpec good = make(8, 8, Compute::bf16, bfloat16, bfloat16, bfloat16);
  auto refused = [](GemmSpec spec, Isa level = Isa::avx512_bf16) { return gemm_refuse(spec, level).value_or(""); };
  EXPECT_EQ(refused(good), "");
  EXPECT_EQ(refused(good, Isa::baseline), "needs AVX2 and FMA");
  GemmSpec spec = good;
  spec.n = 7, spec.geglu = true, spec.act = Act::gelu;
  EXPECT_EQ(refused(spec), "GEGLU needs an even number of weight rows");
  spec = good, spec.geglu = true, spec.act = Act::relu;
  EXPECT_EQ(refused(spec), "gates by gelu, gelu_tanh or silu alone");
  spec = good, spec.act = Act::silu, spec.rows_per_gate = 4;
  EXPECT_EQ(refused(spec), "has a gate or an activation, not both");
  spec = good, spec.c = DType::int8;
  EXPECT_EQ(refused(spec), "writes float32, bfloat16 or float16, not int8");
  spec = good, spec.w = float32;
  EXPECT_EQ(refused(spec), "bfloat16 products of float32 weights: store them as bfloat16");
  spec = good, spec.w = DType::int64;
  EXPECT_EQ(refused(spec), "stores no weights as int64");
  spec = good, spec.a = DType::uint8;
  EXPECT_EQ(refused(spec), "takes a quantised A only with int8_dynamic (uint8) and float8_dynamic (float8_e4m3)");
  spec = make(8, 8, Compute::float8_dynamic, DType::uint8, DType::float8_e4m3, bfloat16);
  EXPECT_EQ(refused(spec), "takes a quantised A only with int8_dynamic (uint8) and float8_dynamic (float8_e4m3)");
  spec.a = DType::float8_e4m3;
  EXPECT_EQ(refused(spec), "");
  spec.w = bfloat16;
  EXPECT_EQ(refused(spec), "float8_dynamic needs float8_e4m3 weights, not bfloat16");
  spec = make(8, 70000, Compute::int8_dynamic, bfloat16, DType::int8, bfloat16);
  EXPECT_EQ(refused(spec), "int32 sums could overflow beyond k = 65536");
  spec = make(8, 70000, Compute::int16_dynamic, bfloat16, bfloat16, bfloat16);
  EXPECT_EQ(refused(spec), "");
  spec.w = DType::int8;
  EXPECT_EQ(refused(spec), "stores floating-point weights as int16, not int8");
  spec.w = bfloat16, spec.separate_decode = true;
  EXPECT_EQ(refused(spec), "decodes no weights");
  spec = make(8, 8, Compute::bf16x3, float32, float32, float32);
  EXPECT_EQ(refused(spec), "");
  EXPECT_EQ(refused(spec, Isa::avx512), "bf16x3 needs AVX512-BF16; float32 products are faster without it");
}

// The scratch memory is laid out for the threads of the plan: more of them in the pool find no room in it, and keep out.
TEST_P(Gemm, MoreThreadsThanPlannedKeepToTheirMemory) {
  for (bool strassen : {false, true}) {
    constexpr int64_t m = 256, n = 128, k = 64, kGuard = 4096;
    GemmSpec spec = make(n, k, Compute::f32, float32, float32, float32);
    spec.strassen = strassen;
    Buffer a(float32, m * k), w(float32, n * k), c(float32, m * n);
    for (int64_t i = 0; i < a.size; ++i) a.set(i, 1);
    for (int64_t i = 0; i < w.size; ++i) w.set(i, 1);
    const cpu::Gemm planned(spec, m, isa(), 1);
    const size_t bytes = planned.workspace_bytes();
    Aligned packed(gemm_packed_bytes(spec)), workspace(bytes + kGuard);
    auto* guard = static_cast<uint8_t*>(workspace.p) + bytes;
    std::memset(guard, 0xab, kGuard);
    gemm_pack(spec, w.data(), float32, packed.p);
    const int threads = num_threads();
    set_num_threads(4);
    planned.run({.packed = packed.p, .a = a.data(), .lda = k, .m = m, .c = c.data(), .ldc = n, .workspace = workspace.p});
    set_num_threads(threads);
    EXPECT_EQ(std::count(guard, guard + kGuard, 0xab), kGuard);
    for (int64_t i = 0; i < c.size; ++i) ASSERT_EQ(c[i], static_cast<double>(k)) << i;
  }
}

}  // namespace
}  // namespace vivace::cpu::gemm_test
