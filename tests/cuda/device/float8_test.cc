// Linears of float8_dynamic on the CUDA backend against plain arithmetic, by every kernel that takes them: cuBLASLt with a scale for each row of
// either factor, own tensor cores, and both factors widened where a GPU multiplies no float8.
#include "../../ops/float8_linear.h"
#include "backends/devices.h"
#include "host_device.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// The step that multiplies.
PlanStep product_of(const Plan& plan) {
  return *std::ranges::find_if(plan.step, [](const PlanStep& s) { return s.op == Op::linear || s.op == Op::geglu_linear; });
}

class CudaFloat8 : public testing::TestWithParam<std::tuple<Float8Case, DType>> {
 protected:
  static std::string own_kernel() { return std::get<0>(GetParam()).geglu ? "gemm_geglu_8_bits" : "gemm_8_bits"; }
};
// On the host float16's kernels are bfloat16's with another type, and are not compiled for it.
class CudaFloat8OnTheHost : public CudaFloat8 {};
class CudaFloat8OnAGpu : public CudaFloat8 {};

TEST_P(CudaFloat8OnTheHost, OfALibraryWhereItsEpilogueAllows) {
  const auto& [item, dtype] = GetParam();
  const Float8Linear linear(item, dtype);
  const cuda::HostGpu gpu = cuda::host_gpu();
  linear.check(gpu.device);
  if (!gpu.driver->blas()) GTEST_SKIP() << "this build has no cuBLASLt";
  const std::string_view name = item.name;
  const bool takes = !item.geglu && !item.gate && name != "another_activation" && name != "nothing_is_aligned" &&
                     !(item.bias && (item.stored || dtype == DType::float32));
  EXPECT_EQ(product_of(*linear.compiled(gpu.device)).kernel, takes ? "cublaslt_float8" : own_kernel());
}

TEST_P(CudaFloat8OnTheHost, OfOwnTensorCores) {
  const auto& [item, dtype] = GetParam();
  const Float8Linear linear(item, dtype);
  const cuda::HostGpu gpu = cuda::host_gpu({.libraries = false});
  linear.check(gpu.device);
  EXPECT_EQ(product_of(*linear.compiled(gpu.device)).kernel, own_kernel());
}

TEST_P(CudaFloat8OnTheHost, WidenedOnAnOlderGpu) {
  const auto& [item, dtype] = GetParam();
  const Float8Linear linear(item, dtype);
  const cuda::HostGpu gpu = cuda::host_gpu({.capability = 86});
  linear.check(gpu.device);
  const PlanStep step = product_of(*linear.compiled(gpu.device));
  EXPECT_EQ(step.kernel, own_kernel());
  if (item.geglu) return;
  EXPECT_TRUE(std::ranges::count(
      step.refused, std::pair<std::string, std::string>{"cublaslt_float8", "products of float8 need compute capability 8.9, this GPU has 8.6"}));
}

TEST_P(CudaFloat8OnAGpu, EqualPlainArithmetic) {
  std::shared_ptr<Device> gpu;
  try {
    gpu = open_device("cuda");
  } catch (const UserError& error) {
    GTEST_SKIP() << error.what();
  }
  const auto& [item, dtype] = GetParam();
  // Tensor cores align products of float8 to the largest and keep some 14 bits of each.
  Float8Linear(item, dtype, 0x1p-14).check(gpu);
}

std::string case_name(const testing::TestParamInfo<std::tuple<Float8Case, DType>>& info) {
  return std::string(std::get<0>(info.param).name) + "_" + std::string(dtype_name(std::get<1>(info.param)));
}
INSTANTIATE_TEST_SUITE_P(Cases, CudaFloat8OnTheHost,
                         testing::Combine(testing::ValuesIn(kFloat8Cases), testing::Values(DType::float32, DType::bfloat16)), case_name);
INSTANTIATE_TEST_SUITE_P(Cases, CudaFloat8OnAGpu,
                         testing::Combine(testing::ValuesIn(kFloat8Cases), testing::Values(DType::float32, DType::bfloat16, DType::float16)),
                         case_name);

TEST(CudaFloat8Linears, SayWhyTheLibraryLeavesThem) {
  const cuda::HostGpu gpu = cuda::host_gpu();
  if (!gpu.driver->blas()) GTEST_SKIP() << "this build has no cuBLASLt";
  const auto reason = [&](std::string_view name, DType dtype) {
    const auto* const item = std::ranges::find(kFloat8Cases, name, &Float8Case::name);
    const PlanStep step = product_of(*Float8Linear(*item, dtype).compiled(gpu.device));
    for (const auto& [kernel, why] : step.refused)
      if (kernel == "cublaslt_float8") return why;
    return std::string();
  };
  EXPECT_EQ(reason("gate", DType::bfloat16), "no gate in its epilogue");
  EXPECT_EQ(reason("another_activation", DType::bfloat16), "no silu in its epilogue");
  EXPECT_EQ(reason("nothing_is_aligned", DType::bfloat16), "float8 of 37 features to 20, not both multiples of 16");
  EXPECT_EQ(reason("stored_with_bias", DType::bfloat16), "a bias beside scales that the checkpoint stores");
  EXPECT_EQ(reason("bias", DType::float32), "the bias of a float32 result would be bfloat16");
}

// What a NaN in a row becomes is told by the session, on every road.
TEST(CudaFloat8Linears, RowsThatAreNoNumbersAreReported) {
  for (const cuda::HostDriver::Options& options : {cuda::HostDriver::Options{}, cuda::HostDriver::Options{.libraries = false}})
    for (const Float8Case& item : {kFloat8Cases[0], kFloat8Cases[7]})
      EXPECT_THROW(Float8Linear(item, DType::bfloat16).run_with(INFINITY, cuda::host_gpu(options).device), UserError) << item.name;
}

}  // namespace
}  // namespace vivace
