// The library itself, where it is: it needs no GPU to say that there is none.
#include "backends/cuda/nccl.h"

#include <gtest/gtest.h>

#include "host_device.h"
#include "vivace/error.h"

namespace vivace::cuda {
namespace {

class Nccl : public testing::Test {
 protected:
  void SetUp() override {
    try {
      functions_ = find_nccl();
    } catch (const UserError& error) {
      GTEST_SKIP() << error.what();
    }
  }
  NcclFunctions functions_;
};

TEST_F(Nccl, HasTheFunctionsOfTheTable) {
  EXPECT_STREQ(functions_.explain(ncclSuccess), "no error");
  const auto library = nccl(functions_);
  EXPECT_EQ(library->id().size(), size_t{NCCL_UNIQUE_ID_BYTES});
  EXPECT_NE(library->id(), library->id());
}

// On the GPU of this machine, where it has one.
TEST_F(Nccl, OneRankJoinsItselfOrIsToldWhyNot) {
  const auto library = nccl(functions_);
  const HostGpu gpu = host_gpu();
  try {
    const auto one = library->communicator(gpu.device, library->id(), 0, 1, {});
    one->check();
  } catch (const UserError& error) {
    const std::string what = error.what();
    EXPECT_TRUE(what.starts_with("cuda:0: rank 0 of 1 cannot join the others: ")) << what;
    EXPECT_EQ(what.find('\n'), std::string::npos) << what;
  }
}

}  // namespace
}  // namespace vivace::cuda
