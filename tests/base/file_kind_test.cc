#include "base/file_kind.h"

#include <gtest/gtest.h>

namespace vivace {
namespace {

TEST(FileKind, IsSaidOfWhatIsKnown) {
  const auto holds = [](std::string_view begin, const char* word) { return file_kind_note(begin).find(word) != std::string::npos; };
  EXPECT_TRUE(holds("version https://git-lfs.github.com/spec/v1\n", "Git LFS"));
  EXPECT_TRUE(holds("\n <!DOCTYPE HTML><head>", "HTML"));
  EXPECT_TRUE(holds(std::string_view("PK\x03\x04\x00\x00", 6), "PyTorch"));
  EXPECT_TRUE(holds("\x89PNG\r\n", "PNG"));
  EXPECT_TRUE(holds(std::string_view("\x40\0\0\0\0\0\0\0{\"a\":", 13), "safetensors"));
  for (const char* text : {"", "{\"a\": 1}", "#version: 0.2", "a b"}) EXPECT_EQ(file_kind_note(text), "") << text;
}

}  // namespace
}  // namespace vivace
