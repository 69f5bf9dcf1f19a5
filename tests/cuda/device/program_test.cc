// The program on a GPU that is none: what its tools say of one, and two processes that share a picture.
#include "../../cli/program.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <future>
#include <iostream>
#include <sstream>

#include "backends/devices.h"
#include "commands.h"
#include "host_device.h"
#include "tune/candidates.h"
#include "vivace/error.h"

namespace vivace {
namespace {

const std::string kModel = std::string(VIVACE_SOURCE_DIR) + "/assets/emoji-xl";

using Add = cli::Command (*)(cli::Arguments&, const cli::Common&);
int run(Add add, const std::vector<std::string>& words) {
  cli::Arguments program("vivace", "");
  const cli::Common common{.quiet = true};
  const cli::Command command = add(program, common);
  program.parse(words);
  return command.run();
}

// What another process of this program is told to be: `vivace generate` with the GPUs of the tests for those of the machine.
TEST(DISABLED_CudaProgram, DrawsAsItIsTold) {
  std::ranges::find(devices(), "cuda", &DeviceRow::name)->open = [](int number) -> std::shared_ptr<Device> { return cuda::rank_gpu(number).device; };
  std::vector<std::string> words;
  std::istringstream lines(std::getenv("VIVACE_TEST_WORDS"));
  for (std::string line; std::getline(lines, line);) words.push_back(line);
  try {
    ASSERT_EQ(run(cli::add_generate, words), 0);
  } catch (const Error& error) {
    FAIL() << error.what();
  }
}

int free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(socket, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ::close(socket);
  return ::ntohs(address.sin_port);
}

Finished draw(const std::filesystem::path& output, const std::vector<std::string>& more,
              std::vector<std::pair<std::string, std::string>> environment) {
  std::string words = "generate\na red apple\n--model\n" + kModel +
                      "\n--height\n16\n--width\n16\n--num-inference-steps\n2\n--seed\n1\n--device\ncuda\n--compile\nreduce-overhead\n--output\n" +
                      output.string();
  for (const std::string& word : more) words += '\n' + word;
  environment.emplace_back("VIVACE_TEST_WORDS", words);
  return vivace({"--gtest_also_run_disabled_tests", "--gtest_filter=DISABLED_CudaProgram.DrawsAsItIsTold"}, {.environment = environment});
}

// As a shell starts them: they meet by sockets, each makes one prediction of each step, and the first writes the picture that one process draws.
TEST(CudaProgram, TwoProcessesDrawOnePicture) {
  if (!cuda::host_collectives()) GTEST_SKIP() << "this build has no header of NCCL";
  const TempFolder folder;
  const std::string port = std::to_string(free_port());
  const auto as_rank = [&](const std::string& rank) {
    return draw(folder / "two.npy", {"--parallel", "guidance"}, {{"RANK", rank}, {"WORLD_SIZE", "2"}, {"LOCAL_RANK", rank}, {"MASTER_PORT", port}});
  };
  auto second = std::async(std::launch::async, as_rank, "1");
  for (const Finished& done : {as_rank("0"), second.get(), draw(folder / "one.npy", {}, {})}) ASSERT_EQ(done.code, 0) << done.out << done.err;
  EXPECT_EQ(folder.files(), 2u);
  EXPECT_TRUE(read_text(folder / "two.npy") == read_text(folder / "one.npy"));
}

// What nobody has measured is no figure.
TEST(CudaProgram, ProfileHoldsNothingAgainstAPeakThatIsUnknown) {
  cuda::shared_host_gpu();
  testing::internal::CaptureStdout();
  const int code = run(cli::add_profile, {"profile", "--model", kModel, "--component", "text_encoder", "--device", "host-cuda", "--runs", "1"});
  const std::string said = testing::internal::GetCapturedStdout();
  EXPECT_EQ(code, 0);
  EXPECT_NE(said.find(" GFLOP/s"), std::string::npos) << said;
  EXPECT_EQ(said.find("% of"), std::string::npos) << said;
  EXPECT_EQ(said.find("measured"), std::string::npos) << said;
}

TEST(CudaProgram, TuneHasFloat8WhereItIsMultiplied) {
  cuda::shared_host_gpu();
  DiffusionPipeline pipe = DiffusionPipeline::from_pretrained(kModel, {.device = "host-cuda"});
  const std::vector<cli::Candidate> all = cli::find_candidates(pipe, {.height = 16, .width = 16});
  const auto wide = std::ranges::find_if(all, [](const cli::Candidate& c) { return c.name.starts_with("float8 "); });
  ASSERT_NE(wide, all.end());
  const auto bytes = std::ranges::find(all, "int8 " + wide->name.substr(7), &cli::Candidate::name);
  ASSERT_NE(bytes, all.end());
  EXPECT_EQ(bytes->knob, wide->knob);
  EXPECT_EQ(bytes->quantized, wide->quantized);
  const PretrainedOptions setting = cli::setting_of(bfloat16, all, {&*wide, 1});
  EXPECT_EQ(setting.compile.quantize.at(wide->quantized.at(0)), Quantization::float8_dynamic);
}

}  // namespace
}  // namespace vivace
