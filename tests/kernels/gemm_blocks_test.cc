// A weight in blocks gives the very bits that its values give, packed in the type that the product takes.
#include "gemm_problem.h"

namespace vivace::cpu::gemm_test {
namespace {

struct FormatCase {
  BlockFormat format;
  std::vector<int64_t> halves;  // where a block's float16 numbers lie
};
const FormatCase kFormats[] = {{BlockFormat::q4_0, {0}},    {BlockFormat::q4_1, {0, 2}},   {BlockFormat::q5_0, {0}},   {BlockFormat::q5_1, {0, 2}},
                               {BlockFormat::q8_0, {0}},    {BlockFormat::q2_k, {80, 82}}, {BlockFormat::q3_k, {108}}, {BlockFormat::q4_k, {0, 2}},
                               {BlockFormat::q5_k, {0, 2}}, {BlockFormat::q6_k, {208}}};

std::vector<uint8_t> random_blocks(const FormatCase& c, int64_t count) {
  const int64_t bytes = block_format_info(c.format).bytes;
  std::vector<uint8_t> blocks(static_cast<size_t>(count * bytes));
  std::mt19937 random(static_cast<unsigned>(count));
  for (uint8_t& byte : blocks) byte = static_cast<uint8_t>(random());
  for (int64_t i = 0; i < count; ++i)
    for (const int64_t at : c.halves) {
      const f16 scale(static_cast<float>(random() % 2000) * 1e-5f - 0.01f);
      std::memcpy(blocks.data() + i * bytes + at, &scale, sizeof scale);
    }
  return blocks;
}

std::vector<float> run(const GemmSpec& spec, const void* packed, const std::vector<float>& a, int64_t m, const GemmBlocking& blocking) {
  std::vector<float> c(static_cast<size_t>(m * spec.columns()));
  Aligned workspace(gemm_workspace_bytes(spec, m, num_threads(), blocking));
  Buffer rows(spec.a, m * spec.k);
  for (int64_t i = 0; i < rows.size; ++i) rows.set(i, a[static_cast<size_t>(i)]);
  EXPECT_EQ(gemm(spec, {.packed = packed,
                        .a = rows.data(),
                        .lda = spec.k,
                        .m = m,
                        .c = c.data(),
                        .ldc = spec.columns(),
                        .workspace = workspace.p,
                        .blocking = blocking}),
            -1);
  return c;
}

class GemmBlocks : public AtEveryLevel {};

TEST_P(GemmBlocks, GiveTheBitsOfTheirValues) {
  constexpr int64_t kRows = 37, kColumns = 70;
  for (const FormatCase& c : kFormats) {
    const BlockFormatInfo& format = block_format_info(c.format);
    const int64_t k = format.values == 256 ? 768 : 352, blocks = k / format.values;
    const std::vector<uint8_t> w = random_blocks(c, kColumns * blocks);
    std::vector<float> values(static_cast<size_t>(kColumns * k)), a(static_cast<size_t>(kRows * k));
    widen_blocks(c.format, std::as_bytes(std::span(w)), values.data());
    std::mt19937 random(7);
    for (float& x : a) x = static_cast<float>(std::normal_distribution<double>()(random));
    for (const Compute compute : {Compute::f32, Compute::bf16}) {
      // Below AVX512-BF16 the products of bfloat16 are of float32 factors.
      const bool rounds = compute == Compute::bf16 && isa() >= Isa::avx512_bf16;
      for (const bool geglu : {false, true})
        for (const GemmBlocking& blocking :
             {GemmBlocking{}, GemmBlocking{.tiles = 1, .panels = 1, .units = 16}, GemmBlocking{.units = 100, .pack_a = true}}) {
          SCOPED_TRACE(std::string(isa_name(isa())) + ' ' + std::string(format.name) + (rounds ? " bf16" : "") + (geglu ? " geglu" : ""));
          GemmSpec spec = make(kColumns, k, compute, compute == Compute::bf16 ? bfloat16 : float32, rounds ? bfloat16 : float32, float32);
          spec.geglu = geglu, spec.act = geglu ? Act::gelu : Act::none;
          GemmSpec packed_spec = spec;
          if (!rounds) packed_spec.compute = Compute::f32;
          Aligned packed(gemm_packed_bytes(packed_spec));
          gemm_pack(packed_spec, values.data(), float32, packed.p);
          spec.blocks = c.format;
          ASSERT_EQ(gemm_refuse(spec, isa()), std::nullopt);
          const std::vector<float> got = run(spec, w.data(), a, kRows, blocking), want = run(packed_spec, packed.p, a, kRows, blocking);
          ASSERT_EQ(std::memcmp(got.data(), want.data(), got.size() * sizeof(float)), 0);
        }
    }
  }
}

TEST_P(GemmBlocks, WhatCannotBeIsRefused) {
  const auto refusal = [](const auto& change) {
    GemmSpec spec = make(64, 256, Compute::f32, float32, float32, float32);
    spec.blocks = BlockFormat::q4_k;
    change(spec);
    return gemm_refuse(spec, isa()).value_or("");
  };
  EXPECT_EQ(refusal([](GemmSpec&) {}), "");
  EXPECT_EQ(refusal([](GemmSpec& s) { s.k = 320; }), "needs rows of whole blocks of 256, not k = 320");
  EXPECT_EQ(refusal([](GemmSpec& s) { s.compute = Compute::int16_dynamic; }), "multiplies decoded blocks in float32 or bfloat16 alone");
  EXPECT_EQ(refusal([](GemmSpec& s) { s.blocks = BlockFormat::int8; }), "packs single values of 8 bits");
  EXPECT_EQ(refusal([](GemmSpec& s) { s.strassen = true; }), "would decode the blocks of W once for each of its sums");
}

INSTANTIATE_TEST_SUITE_P(Levels, GemmBlocks, testing::Values(Isa::avx2, Isa::avx2_vnni, Isa::avx512, Isa::avx512_vnni, Isa::avx512_bf16, Isa::amx),
                         [](const auto& info) { return std::string(isa_name(info.param)); });

}  // namespace
}  // namespace vivace::cpu::gemm_test
