// The ladder's rungs and recipes, as far as they depend on the device.
#include "bench/rungs.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "options.h"
#include "recipes.h"

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

TEST(Recipes, HaveFloat8WhereTheDeviceMultipliesIt) {
  for (const bool multiplies : {false, true}) {
    const Target device{.int8_products = true, .float8_products = multiplies};
    const std::string wanted = multiplies ? "float8-dynamic" : "int8-dynamic";
    CompileFlags flags;
    std::string dtype;
    apply_recipe("flux-fast", device, flags, dtype);
    EXPECT_EQ(flags.quantize, wanted);
    const std::vector<RecipePart> parts = find_recipe("flux-fast").parts_on(device);
    EXPECT_EQ(std::ranges::count_if(parts, [](const RecipePart& part) { return part.option.starts_with("--quantize "); }), 1);
    EXPECT_EQ(std::ranges::count(parts, "--quantize " + wanted, &RecipePart::option), 1);
  }
}

}  // namespace
}  // namespace vivace::cli
