#include "base/log.h"

#include <gtest/gtest.h>

#include <vector>

#include "grouping_locale.h"

namespace vivace {
namespace {

TEST(Log, ASinkMayLogAndSetAnother) {
  std::vector<std::string> told;
  set_log_sink([&](LogLevel, const std::string& text) {
    told.push_back(text);
    warn("of the sink");
    if (text == "last") set_log_sink(nullptr);
    told.push_back(text + " is told");  // by what was captured, which is there until the sink returns
  });
  testing::internal::CaptureStderr();
  warn("first");
  warn("last");
  warn("nobody's");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "warning: of the sink\nwarning: of the sink\nwarning: nobody's\n");
  EXPECT_EQ(told, (std::vector<std::string>{"first", "first is told", "last", "last is told"}));
}

TEST(Log, NumbersAreTheSameInEveryLocale) {
  const GroupingLocale german;
  ASSERT_EQ((std::ostringstream() << 1234.5).str(), "1.234,5");
  EXPECT_EQ(cat("got ", 12345, ' ', 0.5, ' ', 1234.5f), "got 12345 0.5 1234.5");
}

}  // namespace
}  // namespace vivace
