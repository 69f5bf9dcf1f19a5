// Tile programs as text.
#include "ops/tile_program.h"

#include <gtest/gtest.h>

#include "../comma_locale.h"
#include "ops/infer.h"
#include "vivace/error.h"

namespace vivace {
namespace {

TEST(TileText, ReadsBackTheSame) {
  const std::string text = "t0=affine i0 scale=0.6666666666666666 shift=-1e-05;t1=cast t0 to=bfloat16;t2=clamp t1 max=65504 min=-65504;t3=add t2 i1";
  EXPECT_EQ(TileText(text).text(), text);
}

// Kernels index registers by what stands there, and a plan may come from a stranger.
TEST(TileText, WhatReadsOutsideItselfIsRefused) {
  for (const char* bad : {"", "t0=linear i0", "t0=add i0", "t0=silu i0 i1", "t0=silu t0", "t0=silu i0;t1=add t0 t7", "t0=silu i-1", "t0=silu t-1",
                          "t0=silu x0", "t0=silu i", "t0=silu i0x", "t0=silu i99999999999", "t0=affine i0 scale=", "t0=affine i0 scale=1x",
                          "t0=silu i0 scale=1", "t0=clamp i0 min=0", "t0=cast i0", "t0=cast i0 to=float99"})
    EXPECT_THROW(TileText{bad}, InternalError) << bad;
  const std::optional<TensorType> x = TensorType{DType::float32, {2, 3}};
  const std::vector inputs{x, x};
  EXPECT_EQ(infer(Op::tile, {{"program", "t0=add i0 i1"}}, inputs), *x);
  EXPECT_THROW(infer(Op::tile, {{"program", "t0=add i0 i2"}}, inputs), InternalError);
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
