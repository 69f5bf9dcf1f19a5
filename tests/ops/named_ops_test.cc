// Every kernel of the CPU that takes an op against the op's own meaning.
#include "../with_kernels.h"
#include "op_comparison.h"

namespace vivace {
namespace {

class NamedOps : public testing::TestWithParam<std::tuple<OpCase, DType>> {};

TEST_P(NamedOps, EveryKernelOfTheCpuMatchesTheMeaning) {
  const auto& [item, dtype] = GetParam();
  const WantedResult wanted(item, dtype);
  int ran = 0;
  for (const KernelEntry& first : cpu::device()->kernels())
    ran += wanted.check(std::make_shared<WithKernels>(with_first(*cpu::device(), first)), first.name, wanted.unit());
  EXPECT_GT(ran, 0);
}

INSTANTIATE_TEST_SUITE_P(Cases, NamedOps,
                         testing::Combine(testing::ValuesIn(kOpCases), testing::Values(DType::float32, DType::bfloat16, DType::float16)), case_name);

}  // namespace
}  // namespace vivace
