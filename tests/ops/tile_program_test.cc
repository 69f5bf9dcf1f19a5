// Tile programs as text.
#include "ops/tile_program.h"

#include <gtest/gtest.h>

#include "../comma_locale.h"
#include "vivace/error.h"

namespace vivace {
namespace {

TEST(TileText, ReadsBackTheSame) {
  const std::string text = "t0=affine i0 scale=0.6666666666666666 shift=-1e-05;t1=cast t0 to=bfloat16;t2=clamp t1 max=65504 min=-65504;t3=add t2 i1";
  EXPECT_EQ(TileText(text).text(), text);
}

// Of a program that speaks with its user in German.
TEST(TileText, NumbersAreReadInAnyLocale) {
  const CommaLocale german;
  if (!german.is_there()) GTEST_SKIP() << "no German locale, and what makes one is not installed";
  const TileText program("t0=affine i0 scale=0.6666666666666666 shift=0.5");
  EXPECT_EQ(program.instructions()[0].attrs.real("scale"), 2.0 / 3);
  EXPECT_EQ(program.instructions()[0].attrs.real("shift"), 0.5);
}

}  // namespace
}  // namespace vivace
