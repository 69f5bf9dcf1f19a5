// Half types against nearest-even rounding done in double precision over all of their values.
#include "tensor/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace vivace {
namespace {

// All finite values of a type, ascending, as doubles; index = position.
template <class T, class Bits>
std::vector<double> finite_values() {
  std::vector<double> values;
  for (uint32_t b = 0; b <= std::numeric_limits<Bits>::max() / 2u; ++b) {
    T t;
    t.bits = static_cast<Bits>(b);
    const float f = t;
    if (std::isfinite(f)) values.push_back(f);
  }
  return values;
}

// For a value between two neighbours of the type: below the midpoint, at it (to even) and above it.
template <class T, class Bits>
void check_rounding(float largest_step_in) {
  const std::vector<double> values = finite_values<T, Bits>();
  for (size_t i = 0; i + 1 < values.size(); ++i) {
    ASSERT_LT(values[i], values[i + 1]) << i;
    const auto low = static_cast<float>(values[i]), middle = static_cast<float>((values[i] + values[i + 1]) / 2);
    const auto even = static_cast<Bits>(i % 2 == 0 ? i : i + 1);
    ASSERT_EQ(T(low).bits, static_cast<Bits>(i));
    ASSERT_EQ(T(middle).bits, even) << low;
    ASSERT_EQ(T(std::nextafter(middle, 0.f)).bits, static_cast<Bits>(i)) << low;
    ASSERT_EQ(T(std::nextafter(middle, largest_step_in)).bits, static_cast<Bits>(i + 1)) << low;
    ASSERT_EQ(static_cast<float>(T(-middle)), -static_cast<float>(values[even]));
  }
}

TEST(Half, F16RoundsToNearestEven) { check_rounding<f16, uint16_t>(std::numeric_limits<float>::infinity()); }
TEST(Half, F8RoundsToNearestEven) { check_rounding<f8e4m3, uint8_t>(std::numeric_limits<float>::infinity()); }

TEST(Half, Bf16RoundsToNearestEven) {
  // bf16's subnormals have midpoints that float holds as well; the whole range is checked.
  check_rounding<bf16, uint16_t>(std::numeric_limits<float>::infinity());
}

TEST(Half, F16Edges) {
  EXPECT_EQ(f16(65504.f).bits, 0x7bff);
  EXPECT_EQ(f16(65519.996f).bits, 0x7bff);
  EXPECT_EQ(f16(65520.f).bits, 0x7c00);  // the midpoint to 65536 rounds to infinity
  EXPECT_EQ(f16(1e30f).bits, 0x7c00);
  EXPECT_EQ(f16(-std::numeric_limits<float>::infinity()).bits, 0xfc00);
  EXPECT_EQ(static_cast<float>(f16(-0.f)), 0.f);
  EXPECT_TRUE(std::signbit(static_cast<float>(f16(-0.f))));
  EXPECT_TRUE(std::isnan(static_cast<float>(f16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(static_cast<float>(f16(0x1p-24f)), 0x1p-24f);
  EXPECT_EQ(static_cast<float>(f16(0x1p-25f)), 0.f);
}

TEST(Half, Bf16Edges) {
  EXPECT_TRUE(std::isinf(static_cast<float>(bf16(std::numeric_limits<float>::max()))));
  EXPECT_TRUE(std::isnan(static_cast<float>(bf16(std::numeric_limits<float>::quiet_NaN()))));
  // A NaN whose payload lies in the lower half must not become infinity.
  EXPECT_TRUE(std::isnan(static_cast<float>(bf16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(static_cast<float>(bf16(std::bit_cast<float>(0xffffffffu)))));
}

TEST(Half, F8Saturates) {
  EXPECT_EQ(static_cast<float>(f8e4m3(448.f)), 448.f);
  EXPECT_EQ(static_cast<float>(f8e4m3(1e9f)), 448.f);
  EXPECT_EQ(static_cast<float>(f8e4m3(-std::numeric_limits<float>::infinity())), -448.f);
  EXPECT_TRUE(std::isnan(static_cast<float>(f8e4m3(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace vivace
