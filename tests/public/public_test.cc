// What a program outside of the library has of it.
#include <gtest/gtest.h>
#include <vivace/vivace.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr const char* kModel = VIVACE_SOURCE_DIR "/assets/emoji-xl";

TEST(Public, VersionOfHeadersAndLibrary) { EXPECT_STREQ(vivace::version(), VIVACE_VERSION); }

TEST(Public, ErrorsAreCaughtByTheirTypes) {
  EXPECT_THROW(vivace::parse_dtype("float33"), vivace::UsageError);
  EXPECT_THROW(vivace::Image::load("no-such.png"), vivace::UserError);
  try {
    vivace::parse_compile_mode("fastest");
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("fastest"), std::string::npos);
  }
}

// The process has one of each, whoever asks.
TEST(Public, SettingsAreTheLibrarysOwn) {
  char folder[] = "/tmp/vivace-public-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const auto profile = std::filesystem::path(folder) / "profile.json";
  std::ofstream(profile) << R"({"format": "vivace-profile-1", "compile": {"mode": "default"}})";
  const auto flag_in_library = [&] { return vivace::load_profile(profile).compile.flags.epilogue_fusion; };  // options begin with the process's
  EXPECT_TRUE(flag_in_library());
  vivace::config.epilogue_fusion = false;
  EXPECT_FALSE(flag_in_library());
  EXPECT_FALSE(vivace::CompileOptions().flags.epilogue_fusion);
  vivace::config.epilogue_fusion = true;
  vivace::backends::cuda::matmul::allow_tf32 = true;
  EXPECT_EQ(vivace::get_float32_matmul_precision(), "high");
  EXPECT_EQ(vivace::load_profile(profile).compile.float32_matmul_precision, vivace::MatmulPrecision::high);
  vivace::set_float32_matmul_precision("highest");
  {
    const vivace::sdpa_kernel scope(vivace::SDPBackend::math);
    EXPECT_TRUE(vivace::sdpa_kernel::current()->allows(vivace::SDPBackend::math));
  }
  EXPECT_FALSE(vivace::sdpa_kernel::current());
  std::filesystem::remove_all(folder);
}

TEST(Public, Threads) {
  const int before = vivace::num_threads();
  EXPECT_GE(before, 1);
  vivace::set_num_threads(1);
  EXPECT_EQ(vivace::num_threads(), 1);
  vivace::set_num_threads(0);
  EXPECT_EQ(vivace::num_threads(), before);
}

TEST(Public, MessagesGoWhereTheyAreWanted) {
  std::vector<std::pair<vivace::LogLevel, std::string>> messages;
  vivace::set_log_sink([&](vivace::LogLevel level, const std::string& text) { messages.emplace_back(level, text); });
  auto pipe = vivace::DiffusionPipeline::from_pretrained(kModel);
  std::string words;
  for (int i = 0; i < 100; ++i) words += "apple ";
  const auto draw = [&] { pipe(words, {.height = 32, .width = 32, .num_inference_steps = 1, .seed = 1}); };
  draw();
  ASSERT_FALSE(messages.empty()) << "a prompt that is too long is a warning";
  EXPECT_EQ(messages[0].first, vivace::LogLevel::warning);
  EXPECT_NE(messages[0].second.find("apple"), std::string::npos);
  messages.clear();
  vivace::set_log_level(vivace::LogLevel::error);
  draw();
  EXPECT_TRUE(messages.empty());
  vivace::set_log_level(vivace::LogLevel::warning);
  vivace::set_log_sink(nullptr);
}

TEST(Public, PipelinesMove) {
  const vivace::CallOptions call{.height = 32, .width = 32, .num_inference_steps = 1, .seed = 7};
  const auto pixels = [&](vivace::DiffusionPipeline& pipe) { return pipe("a red apple", call).images[0].pixels(); };
  auto first = vivace::StableDiffusionXLPipeline::from_pretrained(kModel);
  const auto expected = pixels(first);
  std::vector<vivace::DiffusionPipeline> pipes;
  pipes.push_back(std::move(first));
  EXPECT_EQ(pixels(pipes[0]), expected);
  auto other = vivace::DiffusionPipeline::from_pretrained(kModel, {.dtype = vivace::bfloat16});
  other = std::move(pipes[0]);
  EXPECT_EQ(pixels(other), expected);
  EXPECT_EQ(other.unet().dtype(), vivace::float32);
}

}  // namespace
