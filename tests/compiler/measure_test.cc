// Timing kernels alone: any kernel that accepts a call runs on the timer's buffers, with any of its tunings.
#include "compiler/measure.h"

#include <gtest/gtest.h>

#include <set>

#include "backends/cpu/device.h"
#include "backends/host_device.h"

namespace vivace {
namespace {

TEST(Tuning, TextNamesValues) {
  const std::vector<TuningParameter> parameters{{"tiles", {1, 2}}, {"tile_outer", {0, 1}}};
  const std::string text = tuning_text(parameters, {8, 1});
  EXPECT_EQ(text, "tiles=8 tile_outer=1");
  EXPECT_EQ(tuning_value(text, "tiles", 0), 8);
  EXPECT_EQ(tuning_value(text, "tile_outer", 0), 1);
  EXPECT_EQ(tuning_value(text, "tile", 7), 7) << "a name's beginning is not the name";
  EXPECT_EQ(tuning_value("", "tiles", 3), 3);
}

TEST(Measure, EveryKernelThatAcceptsRunsWithEveryTuning) {
  const Attrs attrs{{"act", std::string("silu")}};
  const KernelCall linear{
      .op = Op::linear,
      .attrs = &attrs,
      .in = {Operand{DType::float32, {2, 9, 40}, 48}, Operand{DType::bfloat16, {24, 40}, 0, true}, Operand{DType::float32, {24}, 0, true}},
      .out = {DType::float32, {2, 9, 24}}};
  const Attrs heads{{"heads", int64_t{2}}, {"scale", 0.25}, {"causal", int64_t{0}}};
  const Operand tokens{DType::float32, {1, 20, 32}};
  const KernelCall attention{.op = Op::attention, .attrs = &heads, .in = {tokens, tokens, tokens}, .out = tokens};
  int timed = 0;
  for (const KernelCall& call : {linear, attention})
    for (const KernelEntry& entry : cpu::device()->kernels()) {
      if (entry.op != call.op) continue;
      const Answer answer = entry.ask(call, cpu::device()->target());
      if (!answer.offer) continue;
      KernelTimer timer(call, *cpu::device());
      std::vector<std::string> tunings{""};
      for (std::string& text : answer.offer->variants()) tunings.push_back(std::move(text));
      for (const std::string& tuning : tunings) {
        const Timing t = timer.time(entry, tuning, {.runs = 3, .seconds = 10});
        EXPECT_EQ(t.runs, 3) << entry.name << ' ' << tuning;
        EXPECT_GT(t.min, 0);
        EXPECT_LE(t.min, t.median);
        ++timed;
      }
    }
  EXPECT_GT(timed, 3);
}

std::set<const void*> g_weights;  // that a fake kernel was bound with

class PackingOffer final : public Offer {
 public:
  explicit PackingOffer(std::string key) { packed = {.input = 1, .bytes = size_t{1} << 20, .key = std::move(key)}; }
  void pack(const void*, const void*, void*, Stream&) const override {}
  std::unique_ptr<BoundKernel> bind(const Buffers& buffers) const override {
    g_weights.insert(buffers.in[1]);
    return bound([] {});
  }
};

KernelEntry fake_kernel(const std::string& form) {
  return {
      .name = "fake", .op = Op::linear, .ask = [form](const KernelCall&, const Target&) -> Answer { return std::make_unique<PackingOffer>(form); }};
}

// The CPU, knowing how many bytes are taken.
class CountingDevice final : public HostDevice {
 public:
  Target target() const override { return cpu::device()->target(); }
  std::span<const KernelEntry> kernels() const override { return {}; }
  std::shared_ptr<void> allocate(size_t bytes, Memory memory) override {
    taken_ += bytes;
    most = std::max(most, taken_);
    std::shared_ptr<void> data = HostDevice::allocate(bytes, memory);
    void* const begin = data.get();
    return {begin, [this, data = std::move(data), bytes](void*) { taken_ -= bytes; }};
  }
  size_t most = 0;

 private:
  size_t taken_ = 0;
};

// Weights come from memory as in the plan, which a small model's do not: no more copies than the model has bytes.
TEST(Measure, CopiesNoMoreWeightsThanTheModelHas) {
  const KernelEntry fake = fake_kernel("form");
  const Attrs none;
  const KernelCall call{.op = Op::linear,
                        .attrs = &none,
                        .in = {Operand{DType::float32, {2, 4}}, Operand{DType::float32, {4, 4}, 0, true}},
                        .out = {DType::float32, {2, 4}}};
  const auto copies = [&](size_t weights) {
    g_weights.clear();
    KernelTimer(call, *cpu::device(), weights).time(fake, "", {.runs = 40, .seconds = 10});
    return g_weights.size();
  };
  EXPECT_EQ(copies(100), 1u);
  EXPECT_EQ(copies(size_t{5} << 20), 5u);
  EXPECT_EQ(copies(kBeyondCache), 16u);

  // Of several forms in turn neither.
  CountingDevice device;
  {
    constexpr size_t kWeights = size_t{8} << 20;
    KernelTimer timer(call, device, kWeights);
    g_weights.clear();
    for (int round = 0; round < 3; ++round)
      for (const char* form : {"one", "another", "third"}) timer.time(fake_kernel(form), "", {.runs = 8, .seconds = 10});
    EXPECT_GE(g_weights.size(), 8u);
    EXPECT_LE(device.most, kWeights + (size_t{2} << 20) + 4096) << "one form as often as the model has bytes, the two others once; operands";
  }
}

}  // namespace
}  // namespace vivace
