// Attention on the host against the oracle.
#include "backends/cuda/kernels/attention.h"

#include "testing.h"

namespace vivace::cuda {
namespace {

struct AttentionCase {
  int64_t images, queries, keys, heads, head_size;
  DType dtype;
  bool causal = false;
  enum { kNoMask, kOneMask, kByHead } mask = kNoMask;
  bool plain = false;
  int64_t value_size = 0;  // 0: as head_size
};

void check(const AttentionCase& c) {
  const int64_t width = c.heads * c.head_size, value_size = c.value_size ? c.value_size : c.head_size, out = c.heads * value_size;
  const Tensor q = draw({c.images, c.queries, width}, c.dtype, 1), k = draw({c.images, c.keys, width}, c.dtype, 2),
               v = draw({c.images, c.keys, out}, c.dtype, 3);
  Tensor mask;
  if (c.mask == AttentionCase::kOneMask) mask = draw({c.queries, c.keys}, DType::float32, 4);
  if (c.mask == AttentionCase::kByHead) mask = draw({c.images, c.heads, c.queries, c.keys}, DType::float32, 5);
  if (mask.defined())
    for (int64_t i = 0; i < mask.numel(); i += 3) mask.as<float>()[i] = -INFINITY;
  const double scale = 1 / std::sqrt(static_cast<double>(c.head_size));
  Tensor y({c.images, c.queries, out}, c.dtype);
  const bool by_head = c.mask == AttentionCase::kByHead;
  const AttentionArguments a{.q = q.data(),
                             .k = k.data(),
                             .v = v.data(),
                             .y = y.data(),
                             .mask = mask.as<float>(),
                             .q_image = c.queries * width,
                             .k_image = c.keys * width,
                             .v_image = c.keys * out,
                             .y_image = c.queries * out,
                             .q_row = width,
                             .k_row = width,
                             .v_row = out,
                             .y_row = out,
                             .mask_image = by_head ? c.heads * c.queries * c.keys : 0,
                             .mask_head = by_head ? c.queries * c.keys : 0,
                             .queries = static_cast<int>(c.queries),
                             .keys = static_cast<int>(c.keys),
                             .heads = static_cast<int>(c.heads),
                             .head_size = static_cast<int>(c.head_size),
                             .value_size = static_cast<int>(value_size),
                             .causal = c.causal,
                             .scale = static_cast<float>(scale)};
  ASSERT_EQ(refuse_attention(a), "");
  run_in_any_order(y, make_attention(a, c.images, c.dtype, c.plain));
  const Tensor wanted = oracle(Op::attention, {q, k, v, mask}, {{"heads", c.heads}, {"scale", scale}, {"causal", int64_t{c.causal}}});
  // Scores are sums of head_size products of about 1, whose error moves each weight by as much, relatively. The flash kernel rounds weights to the
  // dtype, with sums that were taken before: an average of values of at most 5, each off by half a unit.
  const double score_error = static_cast<double>(c.head_size + 8) * 0x1p-24 * 8, weight_error = c.plain ? 0 : unit(c.dtype);
  expect_close(y, wanted, 5 * (2 * score_error + weight_error + static_cast<double>(c.keys) * 0x1p-24));
}

TEST(CudaAttention, Flash) {
  constexpr DType bf = DType::bfloat16;
  check({2, 70, 77, 2, 16, bf});
  check({1, 130, 130, 1, 16, bf, true});
  check({2, 20, 33, 2, 16, bf, false, AttentionCase::kOneMask});
  check({2, 20, 33, 2, 40, bf, false, AttentionCase::kByHead});  // 40 features in tiles of 48
  check({1, 17, 70, 1, 64, DType::float16});
  check({1, 9, 70, 3, 9, bf});  // nothing is aligned
}

TEST(CudaAttention, LargeHeads) {
  check({1, 10, 40, 1, 160, DType::bfloat16});
  check({1, 40, 40, 1, 264, DType::bfloat16, true});
}

TEST(CudaAttention, Plain) {
  check({2, 19, 40, 2, 24, DType::float32, false, AttentionCase::kByHead, true});
  check({1, 40, 40, 1, 40, DType::float32, true, AttentionCase::kNoMask, true});
  check({1, 5, 40, 1, 20, DType::bfloat16, false, AttentionCase::kNoMask, true});
}

TEST(CudaAttention, EveryHeadFitsIntoSharedMemory) {
  for (int size = 1; size <= 512; ++size)
    for (bool plain : {false, true}) {
      const auto call = make_attention({.queries = 64, .keys = 64, .heads = 1, .head_size = size, .value_size = size}, 1, DType::bfloat16, plain);
      EXPECT_LE(call.launch.shared, kMostShared) << size;
    }
  EXPECT_EQ(refuse_attention({.head_size = 520, .value_size = 520}), "heads of 520 features, at most 512");
}

}  // namespace
}  // namespace vivace::cuda
