// Several processes that share a call: which one each is, what it draws, and what the files are called.
#include "parallel.h"

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "program.h"
#include "vivace/error.h"
#include "vivace/image.h"

namespace vivace {
namespace {

using Environment = std::vector<std::pair<std::string, std::string>>;

Environment rank_of(int rank, int size) { return {{"RANK", std::to_string(rank)}, {"WORLD_SIZE", std::to_string(size)}}; }

Finished as_rank(const std::vector<std::string>& arguments, const Environment& environment) {
  return vivace(arguments, {.environment = environment});
}

// Accelerate: the first ranks have one more.
TEST(Parallel, SharesAreContiguousAndTheFirstHaveOneMore) {
  const auto shares = [](size_t items, int size) {
    std::vector<std::pair<size_t, size_t>> result;
    for (int rank = 0; rank < size; ++rank) {
      const cli::Share share = cli::share_of(items, rank, size);
      result.emplace_back(share.first, share.count);
    }
    return result;
  };
  using Shares = std::vector<std::pair<size_t, size_t>>;
  EXPECT_EQ(shares(5, 1), (Shares{{0, 5}}));
  EXPECT_EQ(shares(5, 2), (Shares{{0, 3}, {3, 2}}));
  EXPECT_EQ(shares(11, 4), (Shares{{0, 3}, {3, 3}, {6, 3}, {9, 2}}));
  EXPECT_EQ(shares(1, 3), (Shares{{0, 1}, {1, 0}, {1, 0}}));
}

TEST(Parallel, DevicesAreTheRanksOwn) {
  const cli::Ranks ranks{.rank = 5, .size = 8, .local = 1};
  EXPECT_EQ(cli::device_of("cuda", ranks), "cuda:1");
  EXPECT_EQ(cli::device_of("cpu", ranks), "cpu");
  EXPECT_EQ(cli::device_of("cuda:3", {}), "cuda:3");
  EXPECT_NE(message_of<UsageError>([&] { cli::device_of("cuda:3", ranks); }).find("cuda:3 is one GPU for 8 processes"), std::string::npos);
}

// Each rank's files have the names, texts and pictures of one process that draws all.
TEST(Parallel, PromptsAreThoseOfOneProcess) {
  const TempFolder alone, shared;
  const auto words = [](const TempFolder& folder, std::vector<std::string> more) {
    std::vector<std::string> all{"a dog", "a cat", "--seed", "7,8,9", "--negative-prompt", "grey", "--negative-prompt", "dull", "--negative-prompt",
                                 "dark"};
    all.insert(all.end(), more.begin(), more.end());
    std::vector<std::string> result = generate((folder / "x.png").string(), all);
    std::erase(result, "7");
    result.erase(std::ranges::find(result, "--seed"));
    return result;
  };
  ASSERT_EQ(vivace(words(alone, {})).code, 0);
  const Finished first = as_rank(words(shared, {"--parallel", "prompts", "--json"}), rank_of(0, 2));
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_EQ(shared.files(), 2u);
  EXPECT_EQ(strict_json(first.out)["seeds"], (std::vector<int>{7, 8}));
  const Finished second = as_rank(words(shared, {"--parallel", "prompts"}), {{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}});
  ASSERT_EQ(second.code, 0) << second.err;
  EXPECT_EQ(second.err.find("step"), std::string::npos) << "the bar is the first rank's: " << second.err;
  EXPECT_EQ(shared.files(), 3u);
  const char* const negative[] = {"grey", "dull", "dark"};
  for (int i = 0; i < 3; ++i) {
    const std::string name = "x-" + std::to_string(i + 1) + ".png", text = read_text(shared / name);
    const Image want = Image::load(alone / name), got = Image::load(shared / name);
    EXPECT_TRUE(std::ranges::equal(want.pixels(), got.pixels())) << name;
    EXPECT_NE(text.find(negative[i]), std::string::npos) << name;
    EXPECT_NE(text.find("image=" + std::to_string(i + 1) + "/3"), std::string::npos) << name;
    EXPECT_EQ(text.find("parallel"), std::string::npos) << name;
  }
}

TEST(Parallel, ARankMayHaveNothingToDraw) {
  const TempFolder folder;
  const Finished done = as_rank(generate((folder / "x.png").string(), {"--parallel", "prompts"}), rank_of(1, 2));
  EXPECT_EQ(done.code, 0);
  EXPECT_EQ(done.err, "no picture is left for rank 1 of 2\n");
  EXPECT_EQ(folder.files(), 0u);
}

// Without a seed each picture has one, which its file names.
TEST(Parallel, OneRankAloneDrawsAll) {
  const TempFolder folder;
  for (const char* by : {"prompts", "guidance"}) {
    const Finished done = as_rank(generate((folder / (std::string(by) + ".png")).string(), {"a dog", "--parallel", by}), rank_of(0, 1));
    EXPECT_EQ(done.code, 0) << done.err;
  }
  EXPECT_EQ(folder.files(), 4u);
}

TEST(Parallel, RefusesWhatItCannotShare) {
  const TempFolder folder;
  const auto refused = [&](const std::vector<std::string>& more, const Environment& environment, const std::vector<std::string>& names) {
    expect_refused(as_rank(generate((folder / "x.png").string(), more), environment), 2, names);
  };
  const std::vector<std::string> by_prompts{"--parallel", "prompts"};
  refused(by_prompts, {}, {"WORLD_SIZE is not set", "torchrun --no-python"});
  refused(by_prompts, {{"WORLD_SIZE", "2"}}, {"RANK is not set"});
  refused(by_prompts, {{"WORLD_SIZE", "two"}, {"RANK", "0"}}, {"WORLD_SIZE", "two"});
  refused(by_prompts, rank_of(2, 2), {"RANK is 2 and WORLD_SIZE 2", "from 0 to 1"});
  refused({"--parallel", "layers"}, rank_of(0, 2), {"--parallel is \"layers\""});
  refused({"a dog", "--parallel", "prompts", "--quiet"}, rank_of(0, 2), {"one --seed for 2 pictures", "--seed 7,8,..."});
  expect_refused(as_rank(generate((folder / "x.npy").string(), {"--parallel", "prompts", "--output-type", "latent"}), rank_of(0, 2)), 2,
                 {"--output-type latent"});
  refused({"--parallel", "guidance"}, rank_of(1, 3), {"WORLD_SIZE is 3", "an even number"});
  refused({"--parallel", "guidance"}, rank_of(1, 2), {"device cpu exchanges nothing", "--device cuda"});
  refused({"--parallel", "prompts", "--device", "cuda:0"}, rank_of(0, 2), {"--device cuda:0 is one GPU for 2 processes"});
  EXPECT_EQ(folder.files(), 0u);
}

TEST(Parallel, ProcessesThatShareNothingAreTold) {
  const TempFolder folder;
  const Finished done = as_rank(generate((folder / "x.png").string()), rank_of(0, 2));
  EXPECT_EQ(done.code, 0);
  EXPECT_NE(done.err.find("WORLD_SIZE is 2 and --parallel is not given"), std::string::npos) << done.err;
}

}  // namespace
}  // namespace vivace
