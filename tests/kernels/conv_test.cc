// Every convolution kernel is exact on small integers, whatever its shapes, strides, slices and extras; those of int16, whose steps are no integers,
// nearly so.
#include "conv_problem.h"

namespace vivace::cpu::conv_test {
namespace {

const ConvKernel& kernel_of(std::string_view name) { return *std::ranges::find(conv_kernels(), name, &ConvKernel::name); }

void expect_exact(const Case& c) {
  const Problem problem = make_problem(c, Values::exact, 1);
  const int accepted = each_kernel(c.spec, [&](const ConvKernel& kernel, Isa level) {
    Problem p = problem;
    const std::vector<double> got = run(kernel, level, p);
    int wrong = 0;
    double squares = 0;
    for (double y : p.expected) squares += y * y;
    // A lost tap or channel would show far above.
    const double off = kernel.int16 ? 0.02 * std::sqrt(squares / static_cast<double>(got.size())) : 0;
    for (size_t i = 0; i < got.size(); ++i) {
      const double wanted = rounded(c.spec.act, p.expected[i]);
      if (std::abs(got[i] - wanted) <= off + (off > 0 ? 2 * unit_roundoff(c.spec.act) * std::abs(wanted) : 0) || ++wrong > 3) continue;
      const int64_t pixel = static_cast<int64_t>(i) / c.spec.out_channels;
      ADD_FAILURE() << "image " << pixel / (p.oh * p.ow) << " y " << pixel / p.ow % p.oh << " x " << pixel % p.ow << " channel "
                    << i % c.spec.out_channels << ": " << got[i] << ", not " << p.expected[i];
    }
    EXPECT_EQ(wrong, 0) << "of " << got.size();
  });
  EXPECT_TRUE(accepted > 0 || isa() < Isa::avx512_bf16);
}

TEST(Conv, ExactOnIntegersAtEverySizeAndChannelTail) {
  for (DType compute : kComputes)
    for (auto [ci, co] : {std::pair<int64_t, int64_t>{4, 32}, {32, 4}, {33, 35}, {1, 1}, {64, 96}, {7, 70}})
      for (auto [h, w] : {std::pair<int64_t, int64_t>{1, 1}, {2, 3}, {7, 9}, {16, 16}, {5, 34}})
        for (bool upsample : {false, true}) {
          SCOPED_TRACE(testing::Message() << ci << "->" << co << " " << h << "x" << w << " upsample " << upsample << " " << dtype_name(compute));
          expect_exact({.spec = {.in_channels = ci, .out_channels = co, .pad = kSame, .compute = compute, .upsample2x = upsample}, .h = h, .w = w});
        }
}

TEST(Conv, ExactWithStridesPaddingsAndOneByOne) {
  for (DType compute : kComputes)
    for (int kernel : {1, 3})
      for (int stride : {1, 2})
        for (ConvPadding pad : {ConvPadding{}, kSame, ConvPadding{0, 0, 1, 1}, ConvPadding{2, 0, 1, 3}})
          for (auto [h, w] : {std::pair<int64_t, int64_t>{3, 3}, {8, 8}, {13, 6}, {4, 33}}) {
            SCOPED_TRACE(testing::Message() << "kernel " << kernel << " stride " << stride << " pad " << pad.top << pad.left << pad.bottom
                                            << pad.right << " " << h << "x" << w << " " << dtype_name(compute));
            expect_exact({.spec = {.in_channels = 40, .out_channels = 40, .kernel = kernel, .stride = stride, .pad = pad, .compute = compute},
                          .n = 2,
                          .h = h,
                          .w = w});
          }
}

// Rows that are all alike come as near to overflow as the scales of int16 allow, and taps kept in bfloat16 are a little larger than those given.
TEST(Conv, ScalesOfInt16FitTheTapsAsTheyAreKept) {
  const Case c{.spec = {.in_channels = 64, .out_channels = 32, .pad = kSame, .act = DType::bfloat16, .w = DType::bfloat16}, .bias = false};
  const float given = 1 + 0x1.1p-8f;
  const double wanted = 9 * 64 * rounded(DType::bfloat16, given);
  Problem p = make_problem(c, Values::uniform, 1);
  for (size_t i = 0; i < p.x.size() / 2; ++i) put(p.x, DType::bfloat16, i, 1);
  p.weight.assign(p.weight.size(), given);
  each_kernel(c.spec, [&](const ConvKernel& kernel, Isa level) {
    const std::vector<double> got = run(kernel, level, p);
    EXPECT_NEAR(got[(4 * 8 + 4) * 32], wanted, 0.01 * wanted);
  });
}

// Transformed weights that no cache holds, for one group of blocks after the other and with a panel's blocks cut into parts.
TEST(Conv, LargeWeightsAndImagesComeInGroups) {
  expect_exact({.spec = {.in_channels = 1856, .out_channels = 64, .pad = kSame}, .n = 3, .h = 28, .w = 28, .threads = 8});
}

TEST(Conv, ExactInSlicesOfEveryDtypeWithBiasesAndResidual) {
  for (DType compute : kComputes)
    for (DType act : {DType::float32, DType::bfloat16, DType::float16})
      for (bool upsample : {false, true})
        for (int64_t extra : {0, 3})
          for (int threads : {1, 2, 3}) {
            SCOPED_TRACE(testing::Message() << dtype_name(act) << " " << dtype_name(compute) << " extra " << extra << " threads " << threads);
            // float16 overflows at 65504: fewer channels there
            const int64_t channels = act == DType::float16 ? 2 : 37;
            expect_exact(
                {.spec =
                     {.in_channels = channels, .out_channels = 41, .pad = kSame, .act = act, .compute = compute, .w = act, .upsample2x = upsample},
                 .n = 3,
                 .h = 6,
                 .w = 11,
                 .extra = extra,
                 .image_bias = true,
                 .residual = true,
                 .threads = threads});
          }
}

TEST(Conv, ExactOverFramesOfVideos) {
  for (DType compute : kComputes)
    for (int depth : {2, 3})
      for (int kernel : {1, 3})
        for (auto [ci, co] : {std::pair<int64_t, int64_t>{3, 40}, {32, 33}, {70, 32}}) {
          SCOPED_TRACE(testing::Message() << "depth " << depth << " kernel " << kernel << " " << ci << "->" << co << " " << dtype_name(compute));
          const ConvPadding pad = kernel == 1 ? ConvPadding{} : kSame;
          expect_exact({.spec = {.in_channels = ci, .out_channels = co, .kernel = kernel, .depth = depth, .pad = pad, .compute = compute},
                        .n = 6,
                        .h = 5,
                        .w = 18,
                        .frames = 3,
                        .extra = 2,
                        .residual = true});
        }
}

// Large enough that inputs are not shared, blocks have ragged ends and the direct kernels visit their sums several times.
TEST(Conv, ExactInManyBlocks) {
  for (DType compute : kComputes)
    for (bool upsample : {false, true}) {
      expect_exact({.spec = {.in_channels = 5, .out_channels = 33, .pad = kSame, .compute = compute, .upsample2x = upsample}, .h = 101, .w = 117});
      expect_exact(
          {.spec = {.in_channels = 1280, .out_channels = 3, .pad = kSame, .act = DType::bfloat16, .compute = compute, .upsample2x = upsample},
           .h = 9,
           .w = 10});
      expect_exact({.spec = {.in_channels = 645, .out_channels = 35, .pad = kSame, .compute = compute, .w = DType::bfloat16, .upsample2x = upsample},
                    .h = 19,
                    .w = 23});
    }
}

TEST(Conv, ResidualMayBeTheOutputItself) {
  const Case c{.spec = {.in_channels = 20, .out_channels = 24, .pad = kSame}, .h = 9, .w = 9, .residual = true};
  each_kernel(c.spec, [&](const ConvKernel& kernel, Isa level) {
    Problem p = make_problem(c, Values::exact, 3);
    const ConvPlan plan = kernel.plan(c.spec, level, 1, 9, 9, 2);
    const auto packed = aligned(kernel.packed_bytes(c.spec, level)), workspace = aligned(plan.workspace_bytes());
    kernel.pack(c.spec, level, p.weight.data(), DType::float32, packed.get(), nullptr);
    kernel.run(c.spec, level, plan, packed.get(),
               {.x = p.x.data(),
                .h = 9,
                .w = 9,
                .ldx = 20,
                .y = p.residual.data(),
                .ldy = 24,
                .bias = p.bias.data(),
                .residual = p.residual.data(),
                .ld_residual = 24},
               workspace.get());
    const double off = kernel.int16 ? 200 : 0;  // of ten thousands
    for (size_t i = 0; i < p.expected.size(); ++i) ASSERT_NEAR(get(p.residual, DType::float32, i), p.expected[i], off);
  });
}

TEST(Conv, WeightsOfEveryFloatingDtypePackAlike) {
  const ConvSpec spec{.in_channels = 5, .out_channels = 7, .pad = kSame};
  const size_t count = 5 * 7 * 9;
  std::vector<float> wide;
  std::vector<double> f64;
  std::vector<bf16> b16;
  std::vector<f16> h16;
  std::vector<f8e4m3> f8;
  for (size_t i = 0; i < count; ++i) {
    const float v = static_cast<float>(static_cast<int>(i % 15) - 7);
    wide.push_back(v), f64.push_back(v), b16.emplace_back(v), h16.emplace_back(v), f8.emplace_back(v);
  }
  each_kernel(spec, [&](const ConvKernel& kernel, Isa level) {
    const size_t bytes = kernel.packed_bytes(spec, level);
    std::vector<uint8_t> first(bytes), other(bytes);
    kernel.pack(spec, level, wide.data(), DType::float32, first.data(), nullptr);
    const std::pair<const void*, DType> sources[] = {
        {f64.data(), DType::float64}, {b16.data(), DType::bfloat16}, {h16.data(), DType::float16}, {f8.data(), DType::float8_e4m3}};
    for (auto [data, dtype] : sources) {
      kernel.pack(spec, level, data, dtype, other.data(), nullptr);
      EXPECT_EQ(first, other) << dtype_name(dtype);
    }
  });
}

TEST(Conv, WeightsInTwoBytesTakeHalfWhereTheyAreKeptAsTaps) {
  for (bool upsample : {false, true}) {
    const ConvSpec wide{.in_channels = 40, .out_channels = 64, .pad = kSame, .upsample2x = upsample};
    each_kernel(wide, [&](const ConvKernel& kernel, Isa level) {
      ConvSpec narrow = wide;
      narrow.w = DType::float16;
      const size_t less = kernel.packed_bytes(narrow, level), all = kernel.packed_bytes(wide, level);
      if (kernel.int16) {
        EXPECT_EQ(all - less, 40 * 64 * 9 * 2) << "beside the scales";
      } else {
        EXPECT_EQ(less * (!kernel.winograd ? 2 : 1), all);
      }
    });
  }
}

// One instruction for the two of the level below: no sum may differ.
TEST(Conv, VnniGivesTheSums) {
  for (const auto& [below, vnni] : {std::pair{Isa::avx2, Isa::avx2_vnni}, {Isa::avx512, Isa::avx512_vnni}}) {
    if (!has_isa(vnni)) continue;
    for (const char* name : {"winograd_f2_int16", "winograd_f4_int16"}) {
      const ConvKernel& kernel = kernel_of(name);
      const Case c{.spec = {.in_channels = 130, .out_channels = 70, .pad = kSame}, .h = 13, .w = 19};
      Problem p = make_problem(c, Values::uniform, 3), q = make_problem(c, Values::uniform, 3);
      EXPECT_EQ(run(kernel, below, p), run(kernel, vnni, q)) << name << " on " << isa_name(vnni);
    }
  }
}

TEST(Conv, RefusalsSayWhy) {
  const ConvSpec spec{.in_channels = 8, .out_channels = 8, .pad = kSame, .compute = DType::bfloat16};
  const auto reason = [](std::string_view name, const ConvSpec& s, Isa level) { return kernel_of(name).refuse(s, level).value_or("accepted"); };
  EXPECT_EQ(reason("winograd_f2_bf16", spec, Isa::avx512_bf16), "accepted");
  EXPECT_EQ(reason("winograd_f2_bf16", spec, Isa::avx512), "needs avx512_bf16, this machine offers avx512");
  EXPECT_EQ(reason("winograd_f2_f32", spec, Isa::avx512_bf16), "computes in float32, not bfloat16");
  EXPECT_EQ(reason("winograd_upsample_bf16", spec, Isa::avx512_bf16), "only for a convolution after nearest 2x upsampling");
  ConvSpec other = spec;
  other.stride = 2;
  EXPECT_EQ(reason("winograd_f2_bf16", other, Isa::avx512_bf16), "stride 2, not 1");
  EXPECT_EQ(reason("direct_bf16", other, Isa::avx512_bf16), "accepted");
  other = spec;
  other.upsample2x = true;
  EXPECT_EQ(reason("direct_bf16", other, Isa::avx512_bf16), "does not upsample");
  other.pad = {};
  EXPECT_EQ(reason("upsample_phases_bf16", other, Isa::avx512_bf16), "padding other than 1 on each side");
  other = spec;
  other.act = DType::int8;
  EXPECT_EQ(reason("direct_bf16", other, Isa::avx512_bf16), "activations of int8");
  EXPECT_EQ(reason("direct_f32", {.in_channels = 8, .out_channels = 8, .pad = kSame}, Isa::baseline), "needs avx2, this machine offers baseline");
}

}  // namespace
}  // namespace vivace::cpu::conv_test
