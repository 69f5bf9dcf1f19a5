// Every kernel of the CUDA backend that takes an op against the op's own meaning: on the host, and on a GPU where there is one.
#include <gtest/gtest.h>

#include "../../ops/op_cases.h"
#include "backends/devices.h"
#include "host_device.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// A device with another kernel list.
class Reordered final : public Device {
 public:
  Reordered(std::shared_ptr<Device> device, std::vector<KernelEntry> kernels) : device_(std::move(device)), kernels_(std::move(kernels)) {}
  Target target() const override { return device_->target(); }
  std::span<const KernelEntry> kernels() const override { return kernels_; }
  std::shared_ptr<void> allocate(size_t bytes, Memory memory) override { return device_->allocate(bytes, memory); }
  std::unique_ptr<Stream> stream() override { return device_->stream(); }
  MachinePeak measure_peak() override { return {}; }

 private:
  const std::shared_ptr<Device> device_;
  const std::vector<KernelEntry> kernels_;
};

class CudaOps : public testing::TestWithParam<std::tuple<OpCase, DType>> {
 protected:
  // cuDNN's convolutions of float32 are of TF32.
  static double unit(std::string_view kernel, double usual) { return kernel == "cudnn" ? std::max(usual, 0x1p-11) : usual; }
  static void check(const std::shared_ptr<Device>& device) {
    const auto& [item, dtype] = GetParam();
    const WantedResult wanted(item, dtype);
    // The GPU's kernels take all of it, before what would run on the host.
    const Plan plan = compile(wanted.graph(), *device, {});
    EXPECT_EQ(plan.graph_breaks, std::vector<std::string>());
    int ran = 0;
    for (const KernelEntry& first : device->kernels())
      if (first.memory == Memory::device)
        ran += wanted.check(std::make_shared<Reordered>(device, with_first(*device, first)), first.name, unit(first.name, wanted.unit()));
    EXPECT_GT(ran, 0);
  }
};
// On the host: float16's kernels are bfloat16's with another type, and are not compiled for it.
class CudaOpsOnTheHost : public CudaOps {};
class CudaOpsOnAGpu : public CudaOps {};

// A GPU of each test's own: after an error it gives nothing but errors.
TEST_P(CudaOpsOnTheHost, EveryKernelMatchesTheMeaning) { check(cuda::host_gpu().device); }

TEST_P(CudaOpsOnAGpu, EveryKernelMatchesTheMeaning) {
  std::shared_ptr<Device> gpu;
  try {
    gpu = open_device("cuda");
  } catch (const UserError& error) {
    GTEST_SKIP() << error.what();
  }
  check(gpu);
}

// cuDNN is behind the own kernels in the list: that it takes attention without a mask is seen when it comes first.
TEST(CudaAttention, ALibraryTakesItToo) {
  const cuda::HostGpu gpu = cuda::host_gpu();
  if (!gpu.driver->dnn()) GTEST_SKIP() << "this build has no cuDNN";
  const auto* const item = std::ranges::find(kOpCases, std::string_view("attention_self"), &OpCase::name);
  const WantedResult wanted(*item, DType::bfloat16);
  const auto first = std::make_shared<Reordered>(gpu.device, with_first(*gpu.device, *gpu.device->find("cudnn_attention")));
  EXPECT_TRUE(wanted.check(first, "cudnn_attention", wanted.unit()));
  const Plan plan = compile(WantedResult(*item, DType::float32).graph(), *first, {});
  EXPECT_TRUE(std::ranges::none_of(plan.step, [](const PlanStep& s) { return s.kernel == "cudnn_attention"; })) << "not of float32";
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaOpsOnTheHost, testing::Combine(testing::ValuesIn(kOpCases), testing::Values(DType::float32, DType::bfloat16)),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Cases, CudaOpsOnAGpu,
                         testing::Combine(testing::ValuesIn(kOpCases), testing::Values(DType::float32, DType::bfloat16, DType::float16)), case_name);

}  // namespace
}  // namespace vivace
