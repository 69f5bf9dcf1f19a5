// The ladder's rungs, as far as they depend on the device.
#include "bench/rungs.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace vivace::cli {
namespace {

bool has(const Contestant& rung, const std::string& argument) { return std::ranges::count(rung.arguments, argument) > 0; }

TEST(Ladder, HasFloat8WhereTheDeviceMultipliesIt) {
  const std::vector<Contestant> without = ladder("fp16", {.int8_products = true}),
                                with = ladder("fp16", {.int8_products = true, .float8_products = true});
  ASSERT_EQ(with.size(), without.size() + 1);
  for (const Contestant& rung : without) EXPECT_FALSE(has(rung, "--quantize=float8-dynamic")) << rung.name;
  EXPECT_TRUE(has(with.back(), "--quantize=float8-dynamic"));
  EXPECT_TRUE(has(with.back(), "--dtype=fp16"));
}

}  // namespace
}  // namespace vivace::cli
