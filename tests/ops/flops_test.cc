#include "ops/flops.h"

#include <gtest/gtest.h>

#include "ops/infer.h"

namespace vivace {
namespace {

TEST(Flops, OfALinearFollowFromItsFeaturesHoweverTheyAreStored) {
  const Shape out{2, 3, 8};
  const auto of = [&](Op op, const Attrs& attrs, const Shape& x, const Shape& w) {
    return flops(
        op, attrs, [&](size_t i) -> const Shape& { return i == 0 ? x : w; }, out);
  };
  const double expected = 2. * 2 * 3 * 8 * 512;
  EXPECT_EQ(of(Op::linear, {}, {2, 3, 512}, {8, 512}), expected);
  EXPECT_EQ(of(Op::linear, {{"compute", "int8_dynamic"}}, {2, 3, quantized_columns(512)}, {8, 512}), expected);
  // 18 bytes hold 32 values, 144 hold 256.
  EXPECT_EQ(of(Op::linear, {{"blocks", "q4_0"}}, {2, 3, 512}, {8, 16 * 18}), expected);
  EXPECT_EQ(of(Op::geglu_linear, {{"blocks", "q4_k"}}, {2, 3, 512}, {16, 2 * 144}), 2 * expected);
}

}  // namespace
}  // namespace vivace
