// Weights that wait in the host's memory: which, where they lie as they are read, and that sessions make the same of them.
#include "runtime/weight_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "backends/ref/device.h"
#include "checking_device.h"
#include "compiler/compile.h"
#include "runtime/memory_need.h"
#include "runtime/session.h"

namespace vivace {
namespace {

// Weights of three sizes, one of them read twice and one only by what is made once a prompt.
const char* const kStreamedGraph = R"(%0 = input(name="x") : float32[4, 16]
%1 = input(name="prompt") : float32[4, 16] @setup
%2 = weight(name="a") : float32[16, 16]
%3 = weight(name="b") : float32[16, 16]
%4 = weight(name="c") : float32[16]
%5 = weight(name="d") : float32[32, 16]
%6 = weight(name="e") : float32[16, 32]
%7 = transpose(%2, perm=[1, 0]) : float32[16, 16]
%8 = transpose(%3, perm=[1, 0]) : float32[16, 16]
%9 = transpose(%5, perm=[1, 0]) : float32[16, 32]
%10 = transpose(%6, perm=[1, 0]) : float32[32, 16]
%11 = matmul(%1, %8) : float32[4, 16]
%12 = matmul(%0, %7) : float32[4, 16]
%13 = add(%12, %4) : float32[4, 16]
%14 = matmul(%13, %9) : float32[4, 32]
%15 = silu(%14) : float32[4, 32]
%16 = matmul(%15, %10) : float32[4, 16]
%17 = matmul(%16, %7) : float32[4, 16]
%18 = add(%17, %11) : float32[4, 16]
return y=%18
)";
constexpr size_t kTotal = (16 * 16 * 2 + 16 + 32 * 16 * 2) * sizeof(float);

class WeightStreams : public testing::Test {
 protected:
  WeightStreams() {
    int next = 0;
    for (const auto& [name, shape] : std::map<std::string, Shape>{
             {"a", {16, 16}}, {"b", {16, 16}}, {"c", {16}}, {"d", {32, 16}}, {"e", {16, 32}}, {"x", {4, 16}}, {"prompt", {4, 16}}}) {
      Tensor& tensor = tensors_[name] = Tensor::zeros(shape);
      for (float& x : tensor.floats()) x = static_cast<float>((next += 37) % 101 - 50) / 64;
    }
  }

  Tensor run(Device& device, size_t resident) {
    ConstantStore store(std::shared_ptr<Device>(&device, [](Device*) {}));
    const auto plan = std::make_shared<const Plan>(compile(parse_graph(kStreamedGraph), device, {}));
    Session session(std::make_shared<const Program>(plan, device, resident), device, store, source_, request_);
    Tensor y;
    const int64_t before = request_.counters.host_device_syncs;
    for (int turn = 0; turn < 2; ++turn) {
      session.write("x", tensors_["x"]);
      session.write("prompt", tensors_["prompt"]);
      session.run(Phase::setup, request_);
      session.run(Phase::step, request_);
      y = session.read("y", request_);
    }
    EXPECT_EQ(request_.counters.host_device_syncs - before, device.shares_host_memory() ? 0 : 2);
    held_ = store.bytes(Memory::device);
    waiting_ = store.bytes(Memory::host);
    return y;
  }

  std::map<std::string, Tensor> tensors_;  // weights and inputs
  const WeightSource source_{.find =
                                 [this](const std::string& name) {
                                   return WeightBytes{DType::float32, tensors_.at(name).data()};
                                 },
                             .release = [](const std::string&) {}};
  const std::shared_ptr<CheckingDevice> device_ = std::make_shared<CheckingDevice>(ref::device()->kernels());
  Request request_;
  size_t held_ = 0, waiting_ = 0;
};

TEST_F(WeightStreams, WhatAStepReadsIsInItsSegmentOrStays) {
  const auto plan = std::make_shared<const Plan>(compile(parse_graph(kStreamedGraph), *device_, {}));
  const MemoryNeed whole = memory_need(Program(plan, *device_));
  ASSERT_EQ(whole.weights, static_cast<int64_t>(kTotal));
  for (size_t resident = 0; resident <= kTotal; resident += 64) {
    const Program program(plan, *device_, resident);
    const WeightStream& stream = program.weights;
    EXPECT_LE(stream.resident_bytes, resident);
    const MemoryNeed need = memory_need(program);
    EXPECT_EQ(need.weights + need.waiting, whole.weights);
    EXPECT_EQ(need.activations, whole.activations + static_cast<int64_t>(2 * stream.lane_bytes));
    std::set<int32_t> stays;
    for (const WeightStream::Piece& piece : stream.resident) stays.insert(piece.value);
    for (Phase phase : {Phase::setup, Phase::step}) {
      const std::vector<PlanStep>& steps = plan->program(phase);
      std::set<int32_t> there;
      size_t segment = 0;
      for (size_t i = 0; i < steps.size(); ++i) {
        if (segment < stream.segments(phase).size() && stream.segments(phase)[segment].first_step == i) {
          there.clear();
          size_t end = 0;
          for (const WeightStream::Piece& piece : stream.segments(phase)[segment++].pieces) {
            EXPECT_GE(piece.offset, end);
            EXPECT_LE(end = piece.offset + piece.bytes, stream.lane_bytes);
            EXPECT_TRUE(there.insert(piece.value).second);
          }
        }
        for (int32_t in : steps[i].in) {
          if (in >= 0 && stream.is_on_host(static_cast<size_t>(in))) {
            EXPECT_TRUE(stays.contains(in) || there.contains(in)) << resident << ' ' << i;
          }
        }
      }
      EXPECT_EQ(segment, stream.segments(phase).size());
    }
  }
}

TEST_F(WeightStreams, WhatEachStepReadsStaysFirstAndSmallOnesBeforeLarge) {
  const auto plan = std::make_shared<const Plan>(compile(parse_graph(kStreamedGraph), *device_, {}));
  const auto stays = [&](size_t resident) { return Program(plan, *device_, resident).weights.resident.size(); };
  EXPECT_EQ(stays(0), 0u);
  EXPECT_EQ(stays(64), 1u) << "c";
  EXPECT_EQ(stays(64 + 1024), 2u) << "a";
  EXPECT_EQ(Program(plan, *device_, kTotal - 1).weights.waiting_bytes, 2048u);
  // The same with what is made of the prompt in setup.
  Plan with_setup = *plan;
  const int32_t prompt = std::ranges::find(plan->inputs, "prompt", &PlanPort::name)->value;
  const auto once = std::ranges::find_if(with_setup.step, [&](const PlanStep& step) { return step.in[0] == prompt; });
  with_setup.setup.push_back(*once);
  with_setup.step.erase(once);
  const Program most(std::make_shared<const Plan>(with_setup), *device_, kTotal - 1);
  EXPECT_EQ(most.weights.waiting_bytes, 1024u) << "b, which setup alone reads";
  EXPECT_EQ(most.weights.setup.size(), 1u);
  EXPECT_TRUE(most.weights.step.empty());
  EXPECT_EQ(Program(plan, *device_, kTotal).weights.lane_bytes, 0u) << "nothing waits";
  EXPECT_EQ(Program(plan, *ref::device(), 0).weights.lane_bytes, 0u) << "where memory is shared nothing has to";
}

TEST_F(WeightStreams, SessionsMakeTheSameOfThem) {
  const Tensor want = run(*ref::device(), kAllResident);
  for (size_t resident : {size_t{0}, size_t{64}, size_t{3000}, kTotal - 1, kTotal, kAllResident}) {
    SCOPED_TRACE(resident);
    const Tensor y = run(*device_, resident);
    EXPECT_EQ(std::memcmp(y.data(), want.data(), want.bytes()), 0);
    EXPECT_EQ(waiting_, resident < kTotal ? kTotal : 0);
    EXPECT_LE(held_, std::min(resident, kTotal));
  }
}

TEST_F(WeightStreams, WhatIsCopiedAheadIsThereOnceItIsNeeded) {
  const auto stream = device_->stream();
  const auto lane = device_->allocate(4), seen = device_->allocate(12), host = device_->allocate(4, Memory::host);
  const int32_t old = 7, next = 9;
  std::memcpy(host.get(), &next, 4);
  const auto see = [&](size_t i) { stream->copy(static_cast<int32_t*>(seen.get()) + i, lane.get(), 4); };
  stream->copy_in(lane.get(), &old, 4);
  see(0);
  const HostCopy copy{lane.get(), host.get(), 4};
  stream->ahead(0, {&copy, 1});
  see(1);
  stream->need(0);
  see(2);
  uint32_t got[3];
  stream->copy_out(got, seen.get(), 12);
  stream->wait(request_.counters);
  EXPECT_EQ(got[0], 7u);
  EXPECT_EQ(got[1], 0xCBCBCBCBu) << "neither the one nor the other";
  EXPECT_EQ(got[2], 9u);
}

}  // namespace
}  // namespace vivace
