// Long kernels look at their request's stop between blocks of work.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "backends/cpu/device.h"
#include "base/parallel.h"

namespace vivace {
namespace {

using namespace std::chrono_literals;

constexpr uint8_t kUntouched = 0xcb;

size_t bytes_of(const Operand& o) { return static_cast<size_t>(numel(o.shape)) * dtype_size(o.dtype); }

// On one thread, so that what is asked of the kernels takes a second or more on any machine.
class Stops : public testing::Test {
 protected:
  void SetUp() override {
    if (!device_->target().int8_products) GTEST_SKIP() << "below AVX2 oneDNN multiplies, which cannot be stopped";
    set_num_threads(1);
  }
  void TearDown() override { set_num_threads(0); }

  // Of the first kernel that takes the call.
  std::unique_ptr<const Offer> offer(const KernelCall& call) const {
    for (const KernelEntry& entry : device_->kernels())
      if (entry.op == call.op)
        if (Answer answer = entry.ask(call, device_->target()); answer.offer) return std::move(answer.offer);
    return nullptr;
  }

  // How many pages of what was untouched have something in them.
  static size_t touched(const void* memory, size_t bytes) {
    size_t count = 0;
    for (size_t at = 0; at < bytes; at += 4096) count += static_cast<const volatile uint8_t*>(memory)[at] != kUntouched;
    return count;
  }

  // Runs the call on memory whose contents do not matter, asks for a stop from this thread as soon as some of the result is there, and expects that
  // the rest never comes.
  void expect_stops(const KernelCall& call) const {
    const auto made = offer(call);
    ASSERT_TRUE(made);
    std::vector<std::shared_ptr<void>> memory;
    const auto take = [&](size_t bytes) { return memory.emplace_back(device_->allocate(bytes)).get(); };
    const size_t bytes = bytes_of(call.out);
    Buffers buffers{.in = {}, .out = take(bytes), .workspace = take(made->workspace_bytes)};
    for (size_t i = 0; i < call.in.size(); ++i)
      buffers.in.push_back(take(made->packed && made->packed->input == static_cast<int>(i) ? made->packed->bytes : bytes_of(*call.in[i])));
    std::memset(buffers.out, kUntouched, bytes);
    const auto kernel = made->bind(buffers);
    const auto stream = device_->stream();
    std::stop_source source;
    stream->stop = source.get_token();
    std::atomic<bool> ended = false;
    std::jthread runs([&] {
      stream->launch(*kernel);
      ended = true;
    });
    while (!ended && touched(buffers.out, bytes) == 0) std::this_thread::sleep_for(1ms);
    source.request_stop();
    const auto asked = std::chrono::steady_clock::now();
    runs.join();
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - asked;
    const size_t pages = (bytes + 4095) / 4096;
    std::printf("%s: %zu of %zu pages, ended %.1f ms after the stop\n", std::string(op_name(call.op)).c_str(), touched(buffers.out, bytes), pages,
                taken.count());
    EXPECT_LT(touched(buffers.out, bytes), pages) << op_name(call.op) << " did all its work";
  }

  // A stop that is there already leaves the packed form as it was.
  void expect_packs_nothing(const KernelCall& call) const {
    const auto made = offer(call);
    ASSERT_TRUE(made && made->packed);
    const auto source = device_->allocate(bytes_of(*call.in[1])), packed = device_->allocate(made->packed->bytes);
    std::memset(source.get(), 0, bytes_of(*call.in[1]));
    std::memset(packed.get(), kUntouched, made->packed->bytes);
    std::stop_source stop;
    stop.request_stop();
    const std::stop_token token = stop.get_token();
    made->pack(source.get(), nullptr, packed.get(), &token);
    EXPECT_EQ(touched(packed.get(), made->packed->bytes), 0u);
    made->pack(source.get(), nullptr, packed.get(), nullptr);
    EXPECT_GT(touched(packed.get(), made->packed->bytes), 0u);
  }

  const std::shared_ptr<Device> device_ = cpu::device();
  const Attrs none_, padded_{{"padding", std::vector<int64_t>{1, 1, 1, 1}}}, heads_{{"heads", int64_t{4}}, {"scale", 0.125}};
  const Operand tokens_{DType::float32, {1, 16384, 256}};
  const KernelCall linear_{.op = Op::linear,
                           .attrs = &none_,
                           .in = {Operand{DType::float32, {4096, 8192}}, Operand{DType::float32, {4096, 8192}, 0, true}},
                           .out = {DType::float32, {4096, 4096}}},
      convolution_{.op = Op::conv2d,
                   .attrs = &padded_,
                   .in = {Operand{DType::float32, {1, 512, 512, 256}}, Operand{DType::float32, {128, 256, 3, 3}, 0, true}},
                   .out = {DType::float32, {1, 512, 512, 128}}},
      attention_{.op = Op::attention, .attrs = &heads_, .in = {tokens_, tokens_, tokens_}, .out = tokens_};
};

TEST_F(Stops, WithinAProduct) { expect_stops(linear_); }
TEST_F(Stops, WithinAConvolution) { expect_stops(convolution_); }
TEST_F(Stops, WithinAttention) { expect_stops(attention_); }

TEST_F(Stops, WhilePackingForAProduct) { expect_packs_nothing(linear_); }
TEST_F(Stops, WhilePackingForAConvolution) { expect_packs_nothing(convolution_); }

}  // namespace
}  // namespace vivace
