// What crosses to a device and back, on one whose memory the host cannot touch: sessions, their constants, host kernels, and that each mistake is
// noticed.
#include "backends/cpu/device.h"

#include <gtest/gtest.h>

#include <cstring>

#include "backends/devices.h"
#include "backends/ref/device.h"
#include "checking_device.h"
#include "compiler/compile.h"
#include "compiler/measure.h"
#include "runtime/plan_file.h"
#include "runtime/resize.h"
#include "runtime/session.h"
#include "vivace/error.h"

namespace vivace {
namespace {

// Two prepared weights, one of them used as it is stored, and an op between two linears that a device may leave to the host.
const char* const kGraph = R"(%0 = input(name="x", dims="rows,_") : float32[4, 3]
%1 = weight(name="a") : float32[3, 3]
%2 = weight(name="b") : float32[3]
%3 = transpose(%1, perm=[1, 0]) : float32[3, 3]
%4 = matmul(%0, %3) : float32[4, 3]
%5 = silu(%4) : float32[4, 3]
%6 = add(%5, %2) : float32[4, 3]
return y=%6
)";

class Devices : public testing::Test {
 protected:
  std::shared_ptr<const Plan> compile_for(Device& device) {
    return std::make_shared<const Plan>(compile(parse_graph(kGraph), device, {.dynamic = true}));
  }

  Tensor run(const std::shared_ptr<Device>& device, const std::shared_ptr<const Plan>& plan) {
    ConstantStore store(device);
    Session session(plan, *device, store, weights_, request_);
    const int64_t before = request_.counters.host_device_syncs;
    session.write("x", x_);
    session.run(Phase::setup, request_);
    session.run(Phase::step, request_);
    Tensor y = session.read("y", request_);
    syncs_ = request_.counters.host_device_syncs - before;
    return y;
  }

  void expect_right(const Tensor& y) {
    const Tensor want = run(ref::device(), compile_for(*ref::device()));
    ASSERT_EQ(y.shape(), want.shape());
    for (int64_t i = 0; i < y.numel(); ++i) EXPECT_EQ(y.floats()[i], want.floats()[i]) << i;
  }

  static bool is_silu(const KernelEntry& entry) { return entry.op == Op::silu; }

  const Tensor a_ = Tensor::from({3, 3}, std::vector<float>{1, 2, 3, -4, 5, 6, 7, -8, 9}), b_ = Tensor::from({3}, std::vector<float>{.5f, -1, 2});
  const Tensor x_ = Tensor::from({4, 3}, std::vector<float>{1, 0, 0, 0, 1, 0, 0, 0, 1, .5f, -.25f, 2});
  const WeightSource weights_{.find =
                                  [this](const std::string& name) {
                                    return WeightBytes{DType::float32, (name == "a" ? a_ : b_).data()};
                                  },
                              .release = [](const std::string&) {}};
  const std::shared_ptr<CheckingDevice> device_ = std::make_shared<CheckingDevice>(ref::device()->kernels());
  const std::shared_ptr<CheckingDevice> breaking_ = std::make_shared<CheckingDevice>(ref::device()->kernels(), is_silu);
  Request request_;
  int64_t syncs_ = 0;
};
using DevicesDeathTest = Devices;

TEST_F(Devices, ASessionCrossesByCopiesAndWaitsOnce) {
  expect_right(run(device_, compile_for(*device_)));
  run(device_, compile_for(*device_));
  EXPECT_EQ(syncs_, 1);
}

// Seconds in which the device has done nothing would be those of putting it there.
TEST_F(Devices, ACallIsTimedWithItsWait) {
  ConstantStore store(device_);
  Session session(compile_for(*device_), *device_, store, weights_, request_);
  session.write("x", x_);
  const int64_t before = request_.counters.host_device_syncs;
  EXPECT_GT(time_call(session, request_), 0);
  EXPECT_EQ(request_.counters.host_device_syncs - before, 1);
}

TEST_F(Devices, AWaitCountsWhereThereIsSomethingToWaitFor) {
  RequestCounters counters;
  const auto stream = device_->stream();
  stream->wait(counters);
  EXPECT_EQ(counters.host_device_syncs, 0);
  const auto memory = device_->allocate(4);
  const int32_t sent = 7;
  int32_t got = 0;
  stream->copy_in(memory.get(), &sent, 4);
  stream->copy_out(&got, memory.get(), 4);
  EXPECT_EQ(static_cast<uint32_t>(got), 0xCBCBCBCBu) << "nothing is there before the wait";
  stream->wait(counters);
  EXPECT_EQ(got, 7);
  EXPECT_EQ(counters.host_device_syncs, 1);
  const auto cpu = cpu::device()->stream();
  cpu->copy_in(&got, &sent, 4);
  cpu->wait(counters);
  EXPECT_EQ(counters.host_device_syncs, 1) << "the CPU's work is done";
}

TEST_F(Devices, AHostKernelIsCopiedToAndFromAndCostsAWait) {
  const auto plan = compile_for(*breaking_);
  int copies = 0;
  for (const PlanStep& step : plan->step) copies += step.copy;
  EXPECT_EQ(copies, 2) << "its input to the host, its output back";
  ASSERT_EQ(plan->graph_breaks.size(), compile_for(*device_)->graph_breaks.size());
  EXPECT_GT(plan->host_arena_bytes, 0);
  expect_right(run(breaking_, plan));
  run(breaking_, plan);
  EXPECT_EQ(syncs_, 2);
}

TEST_F(Devices, PlansWithCopiesAreKeptCheckedAndResized) {
  const auto plan = compile_for(*breaking_);
  const std::string file = serialize_plan(*plan);
  EXPECT_EQ(parse_plan(std::as_bytes(std::span(file)), "plan", *breaking_), *plan);
  Plan resized;
  ASSERT_EQ(resize(*plan, {{"rows", 9}}, *breaking_, resized), std::nullopt);
  EXPECT_NO_THROW(check_plan(resized, "resized", *breaking_));
  EXPECT_GT(resized.host_arena_bytes, plan->host_arena_bytes);
  for (const PlanStep& step : resized.step) EXPECT_EQ(resized.values[static_cast<size_t>(step.out)].type.shape[0], 9) << step.kernel;
  // What a stranger's plan may not do.
  const auto copy = static_cast<size_t>(std::ranges::find(plan->step, true, &PlanStep::copy) - plan->step.begin());
  const auto host = static_cast<size_t>(plan->step[copy].out);
  const std::vector<std::function<void(Plan&)>> damages{
      [&](Plan& p) { p.step[copy + 1].in[0] = p.step[copy].in[0]; },    // a host kernel that reads the device's memory
      [&](Plan& p) { p.values[host].memory = Memory::device; },         // a copy that crosses nothing
      [&](Plan& p) { p.values[host].offset = p.host_arena_bytes; },     // beyond the arena of its own memory
      [&](Plan& p) { p.step[copy].in.push_back(p.step[copy].in[0]); },  // a copy of two values
      [&](Plan& p) { p.values[static_cast<size_t>(p.inputs[0].value)].memory = Memory::host; },
      [&](Plan& p) { p.values[static_cast<size_t>(p.outputs[0].value)].memory = Memory::host; },
  };
  for (size_t i = 0; i < damages.size(); ++i) {
    Plan plan_with = *plan;
    damages[i](plan_with);
    EXPECT_THROW(check_plan(plan_with, "plan", *breaking_), UserError) << i;
  }
}

TEST_F(Devices, ConstantsAreSharedAndComeBackToTheHost) {
  ConstantStore store(device_);
  const auto plan = compile_for(*device_);
  Session first(plan, *device_, store, weights_, request_);
  Request second_request;
  Session second(plan, *device_, store, weights_, second_request);
  EXPECT_EQ(second_request.counters.constants_prepared, 0);
  const std::vector<Constant> constants = first.constants();
  ASSERT_EQ(constants.size(), 2u);
  const auto bytes = std::make_shared<std::vector<std::byte>>();
  ConstantFile::write(constants, *device_, [&](std::span<const std::byte> piece) { bytes->insert(bytes->end(), piece.begin(), piece.end()); });
  const auto file = ConstantFile::open(*bytes, bytes, "test");
  int found = 0;
  for (const Constant& c : constants) {
    const ConstantFile::Entry* const entry = file->find(c.id, c.bytes);
    ASSERT_NE(entry, nullptr);
    EXPECT_TRUE(file->is_whole(*entry));
    if (c.bytes == b_.bytes()) found += std::memcmp(file->bytes_of(*entry).data(), b_.data(), c.bytes) == 0;
  }
  EXPECT_EQ(found, 1);
}

// What is copied from a file is read before it is copied, unless it is known to be whole; what has been read is told once.
TEST_F(Devices, ConstantsOfAFileAreCheckedOnce) {
  std::vector<Constant> constants;
  for (const char* name : {"a", "b"})
    constants.push_back({hash128(name), std::shared_ptr<void>(const_cast<void*>(a_.data()), [](void*) {}), a_.bytes()});
  const auto bytes = std::make_shared<std::vector<std::byte>>();
  ConstantFile::write(constants, *ref::device(), [&](std::span<const std::byte> piece) { bytes->insert(bytes->end(), piece.begin(), piece.end()); });
  const std::unique_ptr<Stream> stream = device_->stream();
  for (const bool known : {false, true})
    for (const bool damaged : {false, true}) {
      if (damaged) bytes->at(bytes->size() - 40) ^= std::byte{1};  // of one of them
      ConstantStore store(device_);
      int dropped = 0, told = 0;
      store.add_file(
          ConstantFile::open(*bytes, bytes, "test"), [&](const ConstantFile&) { ++dropped; }, ConstantStore::Whole(2, known),
          [&](const ConstantStore::Whole& whole) { told += static_cast<int>(std::ranges::count(whole, 1)); });
      int found = 0;
      for (int turn = 0; turn < 2; ++turn) {
        for (const Constant& c : constants) found += store.find(c.id, c.bytes, *stream) != nullptr;
        EXPECT_TRUE(store.check_found());
      }
      stream->wait(request_.counters);
      const bool refused = damaged && !known;
      EXPECT_EQ(dropped, refused);
      EXPECT_EQ(found, refused ? 2 : 4) << "the one that is whole lies on the device already";
      EXPECT_EQ(told, known || refused ? 0 : 2);
      if (damaged) bytes->at(bytes->size() - 40) ^= std::byte{1};
    }
}

TEST_F(Devices, KernelsAreTimedThere) {
  const Attrs none;
  const KernelCall call{.op = Op::silu, .attrs = &none, .in = {Operand{DType::float32, {64}}}, .out = {DType::float32, {64}}};
  for (const KernelEntry& entry : device_->kernels()) {
    if (entry.op != Op::silu) continue;
    EXPECT_EQ(KernelTimer(call, *device_).time(entry, "", {.runs = 2, .seconds = 10}).runs, 2);
  }
}

TEST_F(Devices, AnUnknownOneIsRefusedWithTheKnownOnes) {
  try {
    open_device("tpu");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("there is no device \"tpu\": expected one of cpu")) << error.what();
  }
}

TEST_F(DevicesDeathTest, TheHostCannotReadAnOutputWhereItLies) {
  ConstantStore store(device_);
  Session session(compile_for(*device_), *device_, store, weights_, request_);
  const Port y = session.output("y");
  EXPECT_DEATH({ [[maybe_unused]] volatile float x = *static_cast<const float*>(y.memory); },
               "the host touched memory of the device; value .*output \"y\"");
}

TEST_F(DevicesDeathTest, AHostKernelWithoutItsCopyIsNoticed) {
  Plan plan = *compile_for(*breaking_);
  const auto copy = static_cast<size_t>(std::ranges::find(plan.step, true, &PlanStep::copy) - plan.step.begin());
  plan.step[copy + 1].in[0] = plan.step[copy].in[0];
  EXPECT_DEATH(run(breaking_, std::make_shared<const Plan>(plan)), "the host touched memory of the device; value .*matmul");
}

TEST_F(DevicesDeathTest, MemoryFreedBeforeTheWaitIsNoticed) {
  const auto stream = device_->stream();
  auto from = device_->allocate(64), to = device_->allocate(64);
  stream->copy(to.get(), from.get(), 64);
  from.reset();
  EXPECT_DEATH(stream->wait(request_.counters), "freed memory of the device was touched");
}

// A wait that is missing shows in what is read.
TEST_F(Devices, AMissingWaitIsNoticed) {
  ConstantStore store(device_);
  Session session(compile_for(*device_), *device_, store, weights_, request_);
  session.write("x", x_);
  session.run(Phase::setup, request_);
  session.run(Phase::step, request_);
  const Port y = session.output("y");
  session.fetch(y);
  for (int64_t i = 0; i < y.host.numel(); ++i) EXPECT_EQ(reinterpret_cast<const uint32_t*>(y.host.data())[i], 0xCBCBCBCBu);
  session.wait(request_);
  expect_right(y.host);
}

}  // namespace
}  // namespace vivace
