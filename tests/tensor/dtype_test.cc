#include "vivace/dtype.h"

#include <gtest/gtest.h>

#include "vivace/error.h"

namespace vivace {
namespace {

constexpr DType kAll[] = {DType::float32, DType::float16, DType::bfloat16, DType::float8_e4m3, DType::float64,
                          DType::int8,    DType::uint8,   DType::int32,    DType::int64,       DType::boolean};

TEST(DType, NamesParseBack) {
  for (DType dtype : kAll) EXPECT_EQ(parse_dtype(dtype_name(dtype)), dtype) << dtype_name(dtype);
}

TEST(DType, ShortNames) {
  EXPECT_EQ(parse_dtype("fp32"), float32);
  EXPECT_EQ(parse_dtype("float"), float32);
  EXPECT_EQ(parse_dtype("bf16"), bfloat16);
  EXPECT_EQ(parse_dtype("fp16"), float16);
  EXPECT_EQ(parse_dtype("half"), float16);
}

TEST(DType, UnknownNameIsAUsageErrorThatListsTheKnownOnes) {
  for (const char* name : {"", "fp17", "FP32", "float 32"}) {
    try {
      parse_dtype(name);
      FAIL() << name;
    } catch (const UsageError& error) {
      EXPECT_NE(std::string(error.what()).find(std::string("\"") + name + "\""), std::string::npos);
      EXPECT_NE(std::string(error.what()).find("bf16"), std::string::npos);
    }
  }
}

TEST(DType, SizesAndKinds) {
  EXPECT_EQ(dtype_size(float32), 4u);
  EXPECT_EQ(dtype_size(bfloat16), 2u);
  EXPECT_EQ(dtype_size(float16), 2u);
  EXPECT_EQ(dtype_size(DType::float8_e4m3), 1u);
  EXPECT_EQ(dtype_size(DType::int64), 8u);
  EXPECT_EQ(dtype_size(DType::boolean), sizeof(bool));
  int floating = 0;
  for (DType dtype : kAll) floating += is_floating(dtype);
  EXPECT_EQ(floating, 5);
  EXPECT_FALSE(is_floating(DType::int8));
}

}  // namespace
}  // namespace vivace
