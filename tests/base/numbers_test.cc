#include "base/numbers.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "temp_folder.h"
#include "vivace/error.h"

namespace vivace {
namespace {

TEST(Numbers, AreDecimalAndWhole) {
  EXPECT_EQ(parse_number<int>("010", "x"), 10);
  EXPECT_EQ(parse_number<int>("-2147483648", "x"), INT32_MIN);
  EXPECT_EQ(parse_number<uint64_t>("18446744073709551615", "x"), UINT64_MAX);
  EXPECT_EQ(parse_number<double>("1e-3", "x"), 1e-3);
  EXPECT_EQ(parse_number<double>("007.5", "x"), 7.5);
}

TEST(Numbers, AnythingElseIsRefusedByName) {
  for (const char* text : {"", " 1", "1 ", "0x1", "1.0", "1e3", "--1", "+1", "1,2", "one"})
    EXPECT_EQ(message_of<UsageError>([&] { parse_number<int64_t>(text, "--x"); }), std::string("--x is \"") + text + "\": expected a whole number")
        << text;
  for (const char* text : {"nan", "inf", "-infinity", "1.2.3", "0x1p3", "1e", ""})
    EXPECT_NE(message_of<UsageError>([&] { parse_number<double>(text, "--x"); }).find("expected a number"), std::string::npos) << text;
  EXPECT_EQ(message_of<UsageError>([&] { parse_number<uint32_t>("-1", "--x"); }), "--x is \"-1\": expected a whole number of 0 or more");
  EXPECT_EQ(message_of<UsageError>([&] { parse_number<uint32_t>("4294967296", "--x"); }),
            "--x is 4294967296: expected a number from 0 to 4294967295");
  EXPECT_NE(message_of<UsageError>([&] { parse_number<double>("1e400", "--x"); }).find("--x is 1e400: expected a number from -1.79"),
            std::string::npos);
}

TEST(Numbers, AreWrittenAsTheyAreReadAgain) {
  EXPECT_EQ(number_text(0.1), "0.1");
  EXPECT_EQ(number_text(-3), "-3");
  EXPECT_EQ(number_text(1. / 3), "0.3333333333333333");
  EXPECT_EQ(number_text(-1.7976931348623157e308), "-1.7976931348623157e+308");
}

}  // namespace
}  // namespace vivace
