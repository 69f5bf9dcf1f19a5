// vivace cache, and what the program keeps between runs.
#include <nlohmann/json.hpp>

#include "base/cache_folder.h"
#include "base/json.h"
#include "program.h"

namespace vivace {
namespace {

TEST(CacheCommand, ShowsAndClears) {
  const TempFolder folder;
  const CacheFolder cache({.folder = folder.path(), .max_bytes = 1'000'000});
  ASSERT_TRUE(cache.write("tuning", "linear 640 x 640", "best"));
  ASSERT_TRUE(cache.write("plans", std::string(300, 'k'), std::string(5000, 'p')));
  const std::vector<std::string> command{"cache", "--cache-dir", folder.path().string(), "--cache-size", "2M"};
  const std::string text = vivace(command).out;
  for (const char* word : {"of 2.00 MB", "plans: 1, 5.", "tuning: 1, ", "linear 640 x 640", "kkk...", " s ago"})
    EXPECT_NE(text.find(word), std::string::npos) << word << " in " << text;
  auto json_command = command;
  json_command.push_back("--json");
  const auto json = strict_json(vivace(json_command).out);
  EXPECT_EQ(json["entries"].size(), 2u);
  auto clear = command;
  clear.push_back("--clear");
  EXPECT_NE(vivace(clear).out.find(" freed"), std::string::npos);
  EXPECT_TRUE(cache.entries().empty());
  EXPECT_EQ(vivace({"cache", "--no-cache"}).out, "the cache is off\n");
}

TEST(CacheCommand, RefusesASizeThatIsNone) { expect_refused(vivace({"cache", "--cache-size", "big"}), 2, {"--cache-size", "big", "20G"}); }

TEST(CacheCommand, NoneIsInNoFolder) {
  for (const char* option : {"--cache-dir", "--cache-size"})
    expect_refused(vivace({"generate", "x", "--no-cache", option, "1M"}), 2, {"--no-cache", option, "leave one"});
}

}  // namespace
}  // namespace vivace
