// NVRTC needs no GPU: what a device would load is compiled here where NVRTC is.
#include "backends/cuda/nvrtc.h"

#include <gtest/gtest.h>

#include "backends/cuda/kernels/gemm.h"
#include "backends/cuda/kernels/movement.h"
#include "backends/cuda/kernels/norm.h"
#include "backends/cuda/library.h"
#include "codegen/cuda_source.h"
#include "vivace/error.h"

namespace vivace::cuda {
namespace {

class CudaCompiler : public testing::Test {
 protected:
  void SetUp() override {
    try {
      nvrtc_ = std::make_unique<Nvrtc>(kDriver);
    } catch (const UserError& error) {
      GTEST_SKIP() << error.what();
    }
  }
  // A cubin is an ELF file.
  static bool is_cubin(const std::string& bytes) {
    return bytes.starts_with(
        "\x7f"
        "ELF");
  }

  static constexpr int kDriver = 13;
  std::unique_ptr<Nvrtc> nvrtc_;
};

TEST_F(CudaCompiler, MakesCubinsOfKernelsAndOfPrintedChains) {
  const auto call = make_softmax({.rows = 1, .columns = 64, .x_pitch = 64, .y_pitch = 64}, DType::bfloat16, DType::bfloat16);
  const auto narrow = make_quantize_weight({.rows = 16, .columns = 64, .geglu = 1}, DType::bfloat16, DType::float8_e4m3);
  GemmArguments product{.rows = 64, .x_pitch = 64, .w_pitch = 64, .w_step = 1, .y_pitch = 64, .columns = 64, .k = 64};
  const auto float8 = make_gemm(product, {.x = DType::float8_e4m3, .y = DType::bfloat16, .bias = DType::float32});
  const TileInput input{DType::bfloat16, TileBroadcast::full};
  for (int capability : {80, 90}) {
    EXPECT_TRUE(is_cubin(nvrtc_->compile(module_text(call.launch), call.launch.function, capability))) << capability;
    EXPECT_TRUE(is_cubin(nvrtc_->compile(module_text(narrow.launch), narrow.launch.function, capability))) << capability;
    EXPECT_TRUE(is_cubin(nvrtc_->compile(module_text(float8.launch), float8.launch.function, capability))) << capability;
    EXPECT_TRUE(is_cubin(nvrtc_->compile(cuda_source(TileText("t0=silu i0"), {&input, 1}, DType::float32, "tile"), "silu", capability)))
        << capability;
  }
}

// The driver compiles what NVRTC has made for the newest GPU that it knows.
TEST_F(CudaCompiler, AGpuThatIsNewerThanItGetsPtx) {
  const auto call = make_softmax({.rows = 1, .columns = 64, .x_pitch = 64, .y_pitch = 64}, DType::bfloat16, DType::bfloat16);
  const std::string made = nvrtc_->compile(module_text(call.launch), call.launch.function, 999);
  EXPECT_NE(made.find(".target sm_"), std::string::npos) << made.substr(0, 200);
  EXPECT_NE(made.find(".entry kernel"), std::string::npos);
}

// Which are not in one line: CUDA 12.8's NVRTC knows 12.0 and, of those before it, not 10.3.
TEST(CudaCompilers, TakeTheNewestGpuThatThisOneRunsCodeFor) {
  const int known[] = {80, 90, 100, 101, 120};
  EXPECT_EQ(newest_for(90, known), 90);
  EXPECT_EQ(newest_for(103, known), 101);
  EXPECT_EQ(newest_for(89, known), 80);
  EXPECT_EQ(newest_for(999, known), 120);
  EXPECT_THROW(newest_for(75, known), UserError);
}

TEST(CudaLibraries, AreNoNewerThanTheDriver) {
  EXPECT_EQ(names_by_toolkit("libnvrtc.so", 13), (std::vector<std::string>{"libnvrtc.so.13", "libnvrtc.so.12"}));
  EXPECT_EQ(names_by_toolkit("libnvrtc.so", 12), std::vector<std::string>{"libnvrtc.so.12"});
}

TEST(CudaLibraries, ThatCannotBeOpenedAreGoneWithout) {
  EXPECT_EQ(opened([]() -> std::unique_ptr<int> { throw UserError("cuda: a library cannot be opened"); }), nullptr);
}

TEST_F(CudaCompiler, SaysWhatIsWrong) {
  try {
    nvrtc_->compile("__global__ void f() { nothing(); }", "broken", 90);
    FAIL();
  } catch (const InternalError& error) {
    EXPECT_TRUE(
        std::string(error.what()).starts_with("cuda: compiling kernel broken: NVRTC_ERROR_COMPILATION broken(1): error: identifier \"nothing\""))
        << error.what();
  }
}

}  // namespace
}  // namespace vivace::cuda
