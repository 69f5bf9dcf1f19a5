// The backend's driver over a libcuda that does nothing: what it looks for is there, and kernels come from NVRTC on threads of its own.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "backends/cuda/kernels/movement.h"
#include "backends/cuda/kernels/norm.h"
#include "backends/cuda/libcuda.h"
#include "vivace/error.h"

namespace vivace::cuda {
namespace {

class CudaDriver : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(::dlopen(VIVACE_NO_GPU, RTLD_NOW | RTLD_GLOBAL), nullptr) << ::dlerror();
    try {
      driver_ = open_driver(0);
    } catch (const UserError& error) {
      GTEST_SKIP() << error.what();  // there is no NVRTC
    }
    ASSERT_EQ(driver_->create_stream(&stream_), kSuccess);
  }
  template <class Arguments>
  Status launch(const Call<Arguments>& call) {
    const Launch& l = call.launch;
    return driver_->launch(driver_->load(l), l.grid, l.block, l.shared, &call.arguments, sizeof call.arguments, stream_);
  }

  std::unique_ptr<Driver> driver_;
  DriverStream* stream_ = nullptr;
};

TEST_F(CudaDriver, TellsOfTheGpu) {
  EXPECT_EQ(driver_->properties().name, "no GPU");
  EXPECT_EQ(driver_->properties().capability, 90);
  EXPECT_EQ(driver_->properties().multiprocessors, 132);
  EXPECT_TRUE(driver_->properties().versions.starts_with("driver 13.0, NVRTC ")) << driver_->properties().versions;
  EXPECT_THROW(open_driver(1), UserError);
}

TEST_F(CudaDriver, LaunchesWaitForTheirKernels) {
  const auto rows = make_softmax({.rows = 1, .columns = 64, .x_pitch = 64, .y_pitch = 64}, DType::bfloat16, DType::bfloat16);
  const auto copy = make_copy({.sizes = {3}, .in_strides = {2}, .out_strides = {1}, .bytes = 4});
  DriverFunction* const first = driver_->load(rows.launch);
  driver_->load(copy.launch);  // both are compiled meanwhile
  EXPECT_EQ(driver_->load(rows.launch), first);
  EXPECT_EQ(launch(rows), kSuccess);
  EXPECT_EQ(launch(copy), kSuccess);
  // More shared memory than every kernel may have has to be asked for.
  auto most = rows;
  most.launch.shared = kMostShared;
  EXPECT_EQ(launch(most), kSuccess);
}

TEST_F(CudaDriver, AKernelThatCannotBeCompiledIsToldWhereItIsLaunched) {
  auto call = make_softmax({.rows = 1, .columns = 64, .x_pitch = 64, .y_pitch = 64}, DType::bfloat16, DType::bfloat16);
  call.launch.function = "nothing<bf16>";
  for (int turn = 0; turn < 2; ++turn) EXPECT_EQ(launch(call), kUnloaded);
  EXPECT_TRUE(driver_->explain(kUnloaded).starts_with("cuda: compiling kernel nothing<bf16>: NVRTC_ERROR_COMPILATION"))
      << driver_->explain(kUnloaded);
}

TEST_F(CudaDriver, StepsAreCaptured) {
  DriverGraph* graph = nullptr;
  ASSERT_EQ(driver_->begin_capture(stream_), kSuccess);
  ASSERT_EQ(driver_->end_capture(stream_, &graph), kSuccess);
  EXPECT_EQ(driver_->launch(graph, stream_), kSuccess);
  driver_->destroy(graph);
}

}  // namespace
}  // namespace vivace::cuda
