// Long kernels look at their request's stop between blocks of work.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "backends/cpu/device.h"
#include "base/log.h"
#include "base/parallel.h"
#include "ops/infer.h"

namespace vivace {
namespace {

using namespace std::chrono_literals;

constexpr uint8_t kUntouched = 0xcb;

size_t bytes_held(const Operand& o) { return static_cast<size_t>(numel(o.shape)) * dtype_size(o.dtype); }

// On one thread, so that what is asked of the kernels takes a second or more on any machine.
class Stops : public testing::Test {
 protected:
  void SetUp() override { set_num_threads(1); }
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
    const size_t bytes = bytes_held(call.out);
    Buffers buffers{.in = {}, .out = take(bytes), .workspace = take(made->workspace_bytes)};
    for (size_t i = 0; i < call.in.size(); ++i)
      buffers.in.push_back(take(made->packed && made->packed->input == static_cast<int>(i) ? made->packed->bytes : bytes_held(*call.in[i])));
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

  // Runs the call on zeros; returns what it made, which nothing was written to before.
  std::shared_ptr<void> run(const Offer& made, const KernelCall& call, std::vector<std::shared_ptr<void>> in, std::stop_token stop = {}) const {
    const std::shared_ptr<void> out = device_->allocate(bytes_held(call.out)), workspace = device_->allocate(made.workspace_bytes);
    std::memset(out.get(), kUntouched, bytes_held(call.out));
    Buffers buffers{.in = {}, .out = out.get(), .workspace = workspace.get()};
    for (const auto& memory : in) buffers.in.push_back(memory.get());
    const auto kernel = made.bind(buffers);
    const auto stream = device_->stream();
    stream->stop = std::move(stop);
    stream->launch(*kernel);
    return out;
  }

  std::shared_ptr<void> zeros(size_t bytes) const {
    std::shared_ptr<void> memory = device_->allocate(bytes);
    std::memset(memory.get(), 0, bytes);
    return memory;
  }

  // A stop that is there already leaves the result as it was.
  void expect_does_nothing(const KernelCall& call) const {
    SCOPED_TRACE(op_name(call.op));
    const auto made = offer(call);
    ASSERT_TRUE(made);
    std::vector<std::shared_ptr<void>> in;
    for (const auto& operand : call.in) in.push_back(operand ? zeros(bytes_held(*operand)) : nullptr);
    std::stop_source stop;
    EXPECT_GT(touched(run(*made, call, in, stop.get_token()).get(), bytes_held(call.out)), 0u);
    stop.request_stop();
    EXPECT_EQ(touched(run(*made, call, in, stop.get_token()).get(), bytes_held(call.out)), 0u);
  }

  // A stop that is there already leaves the packed form as it was.
  void expect_packs_nothing(const KernelCall& call) const {
    const auto made = offer(call);
    ASSERT_TRUE(made && made->packed);
    const auto source = device_->allocate(bytes_held(*call.in[1])), packed = device_->allocate(made->packed->bytes);
    std::memset(source.get(), 0, bytes_held(*call.in[1]));
    std::memset(packed.get(), kUntouched, made->packed->bytes);
    std::stop_source stop;
    stop.request_stop();
    const auto stopped = device_->stream(), stream = device_->stream();
    stopped->stop = stop.get_token();
    made->pack(source.get(), nullptr, packed.get(), *stopped);
    EXPECT_EQ(touched(packed.get(), made->packed->bytes), 0u);
    made->pack(source.get(), nullptr, packed.get(), *stream);
    EXPECT_GT(touched(packed.get(), made->packed->bytes), 0u);
  }

  const std::shared_ptr<Device> device_ = cpu::device();
  const Attrs none_, padded_{{"padding", std::vector<int64_t>{1, 1, 1, 1}}}, padded_by_two_{{"padding", std::vector<int64_t>{2, 2, 2, 2}}},
      heads_{{"heads", int64_t{4}}, {"scale", 0.125}};
  const Operand tokens_{DType::float32, {1, 16384, 256}};
  const KernelCall linear_{.op = Op::linear,
                           .attrs = &none_,
                           .in = {Operand{DType::float32, {4096, 8192}}, Operand{DType::float32, {4096, 8192}, 0, true}},
                           .out = {DType::float32, {4096, 4096}}},
      convolution_{.op = Op::conv2d,
                   .attrs = &padded_,
                   .in = {Operand{DType::float32, {1, 512, 512, 256}}, Operand{DType::float32, {128, 256, 3, 3}, 0, true}},
                   .out = {DType::float32, {1, 512, 512, 128}}},
      convolution_of_onednn_{.op = Op::conv2d,
                             .attrs = &padded_by_two_,
                             .in = {Operand{DType::float32, {1, 512, 512, 128}}, Operand{DType::float32, {128, 128, 5, 5}, 0, true}},
                             .out = {DType::float32, {1, 512, 512, 128}}},
      attention_{.op = Op::attention, .attrs = &heads_, .in = {tokens_, tokens_, tokens_}, .out = tokens_};
};

TEST_F(Stops, WithinAProduct) { expect_stops(linear_); }
TEST_F(Stops, WithinAConvolution) { expect_stops(convolution_); }
TEST_F(Stops, WithinAttention) { expect_stops(attention_); }
TEST_F(Stops, WithinAConvolutionOfOneDnn) { expect_stops(convolution_of_onednn_); }

TEST_F(Stops, WithinAChainOfElementwiseOps) {
  std::string program = "t0=gelu i0";
  for (int i = 1; i < 24; ++i) program += cat(";t", i, "=gelu t", i - 1);
  const Attrs chain{{"program", program}, {"to", std::string("float32")}};
  const Operand x{DType::float32, {4096, 8192}};
  expect_stops({.op = Op::tile, .attrs = &chain, .in = {x}, .out = x});
}

// All of it is one row.
TEST_F(Stops, WithinAMoveAlongTheFirstAxis) {
  const Attrs rows{{"axis", int64_t{0}}, {"begin", int64_t{1}}, {"end", int64_t{32769}}};
  expect_stops({.op = Op::slice, .attrs = &rows, .in = {Operand{DType::float32, {32769, 4096}}}, .out = {DType::float32, {32768, 4096}}});
}

TEST_F(Stops, NormsAndMovesLookAtIt) {
  const Attrs groups{{"groups", int64_t{4}}, {"eps", 1e-5}}, eps{{"eps", 1e-5}}, heads{{"heads", int64_t{2}}}, columns{{"axis", int64_t{-1}}};
  const Operand image{DType::float32, {1, 32, 32, 16}}, large{DType::float32, {1, 64, 64, 16}}, channels{DType::float32, {16}};
  const Operand rows{DType::float32, {1, 256, 32}}, features{DType::float32, {32}}, half{DType::float32, {1, 256, 16}},
      table{DType::float32, {256, 16}};
  expect_does_nothing({.op = Op::group_norm, .attrs = &groups, .in = {image, channels, channels}, .out = image});
  expect_does_nothing({.op = Op::layer_norm, .attrs = &eps, .in = {rows, features, features}, .out = rows});
  expect_does_nothing({.op = Op::rms_norm, .attrs = &eps, .in = {rows, features}, .out = rows});
  expect_does_nothing({.op = Op::rotary, .attrs = &heads, .in = {rows, table}, .out = rows});
  expect_does_nothing({.op = Op::softmax, .attrs = &none_, .in = {rows}, .out = rows});
  expect_does_nothing({.op = Op::quantize_rows, .attrs = &none_, .in = {rows}, .out = {DType::uint8, {1, 256, quantized_columns(32)}}});
  expect_does_nothing({.op = Op::geglu, .attrs = &none_, .in = {rows}, .out = half});
  expect_does_nothing({.op = Op::upsample_nearest, .attrs = &none_, .in = {image}, .out = large});
  expect_does_nothing({.op = Op::concat, .attrs = &columns, .in = {half, half}, .out = rows});
}

// Lines of a result that oneDNN makes in parts: those on both sides of every border are what a call of a few lines alone makes of them.
TEST_F(Stops, PartsOfAConvolutionOfOneDnnMeet) {
  constexpr int64_t kHeight = 164, kWidth = 160, kChannels = 48, kMargin = 2, kLines = 12;
  const auto call = [&](int64_t lines, const Attrs& attrs) {
    return KernelCall{.op = Op::conv2d,
                      .attrs = &attrs,
                      .in = {Operand{DType::float32, {1, lines, kWidth, kChannels}}, Operand{DType::float32, {kChannels, kChannels, 5, 5}, 0, true}},
                      .out = {DType::float32, {1, lines, kWidth, kChannels}}};
  };
  const KernelCall whole = call(kHeight, padded_by_two_), few = call(kLines, padded_by_two_);
  const auto of_whole = offer(whole), of_few = offer(few);
  ASSERT_TRUE(of_whole && of_few);
  const auto fill = [&](size_t bytes) {
    std::shared_ptr<void> memory = device_->allocate(bytes);
    for (size_t i = 0; i < bytes / 4; ++i) static_cast<float*>(memory.get())[i] = static_cast<float>(i * 2654435761 % 2001) / 1000 - 1;
    return memory;
  };
  const auto x = fill(bytes_held(*whole.in[0])), w = fill(bytes_held(*whole.in[1]));
  const auto packed_for = [&](const Offer& made) {
    std::shared_ptr<void> packed = device_->allocate(made.packed->bytes);
    made.pack(w.get(), nullptr, packed.get(), *device_->stream());
    return packed;
  };
  const auto expected_packed = packed_for(*of_few);
  const auto y = run(*of_whole, whole, {x, packed_for(*of_whole)});
  constexpr int64_t kLine = kWidth * kChannels;
  // Sums of 25 * 48 products of numbers up to 1, in another order at most.
  constexpr double kTolerance = 25 * kChannels * 0x1p-23;
  for (int64_t first = 0; first + kLines <= kHeight; first += kLines - 2 * kMargin) {
    const auto part = zeros(bytes_held(*few.in[0]));
    std::memcpy(part.get(), static_cast<const float*>(x.get()) + first * kLine, bytes_held(*few.in[0]));
    const auto expected = run(*of_few, few, {part, expected_packed});
    const int64_t begin = first == 0 ? 0 : kMargin, end = first + kLines == kHeight ? kLines : kLines - kMargin;
    for (int64_t i = begin * kLine; i < end * kLine; ++i)
      ASSERT_NEAR(static_cast<const float*>(y.get())[first * kLine + i], static_cast<const float*>(expected.get())[i], kTolerance) << first;
  }
}

TEST_F(Stops, WhilePackingForAProduct) { expect_packs_nothing(linear_); }
TEST_F(Stops, WhilePackingForAConvolution) { expect_packs_nothing(convolution_); }

}  // namespace
}  // namespace vivace
