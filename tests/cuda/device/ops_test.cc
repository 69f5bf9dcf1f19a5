// Every kernel of the CUDA backend that takes an op against the op's own meaning: on the host, and on a GPU where there is one.
#include <gtest/gtest.h>

#include "../../ops/op_comparison.h"
#include "backends/devices.h"
#include "compiler/autotune.h"
#include "compiler/measure.h"
#include "host_device.h"
#include "temp_folder.h"
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

 private:
  const std::shared_ptr<Device> device_;
  const std::vector<KernelEntry> kernels_;
};

class CudaOps : public testing::TestWithParam<std::tuple<OpCase, DType>> {
 protected:
  // cuDNN's convolutions of float32 are of TF32.
  static bool multiplies_tf32(const Plan& plan) {
    return std::ranges::any_of(plan.step, [](const PlanStep& s) { return s.kernel.ends_with("cudnn"); });
  }
  static void check(const std::shared_ptr<Device>& device) {
    const auto& [item, dtype] = GetParam();
    const WantedResult wanted(item, dtype);
    // The GPU's kernels take all of it, before what would run on the host.
    const Plan plan = compile(wanted.graph(), *device, {});
    EXPECT_EQ(plan.graph_breaks, std::vector<std::string>());
    int ran = 0;
    for (const KernelEntry& first : device->kernels())
      if (first.memory == Memory::device) {
        const auto reordered = std::make_shared<Reordered>(device, with_first(*device, first));
        const bool tf32 = multiplies_tf32(plan) && multiplies_tf32(compile(wanted.graph(), *reordered, {}));
        ran += wanted.check(reordered, first.name, tf32 ? std::max(wanted.unit(), 0x1p-11) : wanted.unit());
      }
    EXPECT_GT(ran, 0);
  }
};
// On the host: float16's kernels are bfloat16's with another type, and are not compiled for it.
class CudaOpsOnTheHost : public CudaOps {};
class CudaOpsOnAGpu : public CudaOps {};

// A GPU of each test's own: after an error it gives nothing but errors.
TEST_P(CudaOpsOnTheHost, EveryKernelMatchesTheMeaning) { check(cuda::host_gpu().device); }

// This machine's; nullptr, and the reason.
std::shared_ptr<Device> gpu_or_null(std::string& reason) {
  try {
    return open_device("cuda");
  } catch (const UserError& error) {
    reason = error.what();
    return nullptr;
  }
}

TEST_P(CudaOpsOnAGpu, EveryKernelMatchesTheMeaning) {
  std::string reason;
  if (const std::shared_ptr<Device> gpu = gpu_or_null(reason))
    check(gpu);
  else
    GTEST_SKIP() << reason;
}

// Linears of 8 bits, whose op means what it means with every bit.
struct NarrowCase {
  const char* name;
  Op op;
  Attrs attrs;
  bool norm, rest;  // the rows come from a norm; a gate and a residual follow
  double unit;      // deviation of what a factor is off, beside its own
  double gain;      // of an error on its way to the result
};

constexpr double kBytes = 4 / 127.0 / 3.4641 * 1.4142;  // rows and weights of up to four deviations, in steps of 1/127, uniformly off

const NarrowCase kNarrowCases[] = {
    {"rows_are_quantised_first", Op::linear, {{"compute", "int8_dynamic"}}, false, false, kBytes, 1},
    {"a_norm_quantises_them", Op::linear, {{"compute", "int8_dynamic"}}, true, true, kBytes, 3},
    {"they_are_turned", Op::linear, {{"compute", "int8_dynamic"}, {"hadamard", int64_t{16}}}, true, false, kBytes, 1},
    {"turned_first", Op::geglu_linear, {{"compute", "int8_dynamic"}, {"hadamard", int64_t{64}}}, false, false, kBytes, 6},
    {"geglu", Op::geglu_linear, {{"compute", "int8_dynamic"}}, true, false, kBytes, 6},
    {"weight_of_int8", Op::geglu_linear, {{"weight_storage", "int8"}}, false, false, kBytes, 6},
    {"weight_of_float8", Op::linear, {{"weight_storage", "float8_e4m3"}}, true, true, 0x1p-4 / 1.7321, 3},
};

class CudaNarrowLinears : public testing::TestWithParam<std::tuple<int, DType>> {
 protected:
  static void check(const std::shared_ptr<Device>& device) {
    const NarrowCase& item = kNarrowCases[std::get<0>(GetParam())];
    const DType dtype = std::get<1>(GetParam());
    const auto graph = [&] {
      Builder b(dtype);
      const Value none, bias = vec(b, "b", item.op == Op::linear ? 32 : 64), w = b.weight("w", {item.op == Op::linear ? 32 : 64, 64});
      Value x = x3(b, 7, 64);
      if (item.norm) x = b.emit(Op::layer_norm, {x}, {{"eps", 1e-5}});
      std::vector<Value> in{x, w, bias};
      if (item.rest) in.insert(in.end(), {x3(b, 7, 32, "r"), none, b.input("g", DType::float32, {2, 1, 32})});
      b.output("y", b.emit(item.op, in, item.attrs));
      return b.take();
    };
    golden::Tensors inputs{{"x", Generator(1).randn({2, 7, 64})}, {"r", Generator(2).randn({2, 7, 32})}, {"g", Generator(3).randn({2, 1, 32})}};
    for (auto& [name, tensor] : inputs)
      if (name != "g") tensor = tensor.to(dtype).to(DType::float32);
    const Plan plan = compile(graph(), *device, {});
    EXPECT_EQ(plan.graph_breaks, std::vector<std::string>());
    EXPECT_TRUE(std::ranges::any_of(plan.step, [](const PlanStep& s) { return s.kernel.ends_with("_8_bits"); }));
    const Tensor want = golden::run(decompose_all(graph()), ref::device(), {}, inputs, "", 0).at("y");
    const Tensor got = golden::run(graph(), device, {}, inputs, "", 0).at("y");
    double rms = 0;
    for (const float x : want.floats()) rms += static_cast<double>(x) * x;
    rms = std::sqrt(rms / static_cast<double>(want.numel()));
    const double allowed = 5 * item.gain * (item.unit + (dtype == DType::float32 ? 0 : 0x1p-8)) * rms;
    double most = 0;
    for (int64_t i = 0; i < want.numel(); ++i) most = std::max(most, static_cast<double>(std::abs(got.floats()[i] - want.floats()[i])));
    EXPECT_LT(most, allowed);
    EXPECT_GT(most, 0x1p-14 * rms) << "nothing was rounded to 8 bits";
  }
};
class CudaNarrowLinearsOnTheHost : public CudaNarrowLinears {};
class CudaNarrowLinearsOnAGpu : public CudaNarrowLinears {};

TEST_P(CudaNarrowLinearsOnTheHost, AreWithinTheirBits) { check(cuda::host_gpu().device); }
TEST_P(CudaNarrowLinearsOnAGpu, AreWithinTheirBits) {
  std::string reason;
  if (const std::shared_ptr<Device> gpu = gpu_or_null(reason))
    check(gpu);
  else
    GTEST_SKIP() << reason;
}

std::string narrow_name(const testing::TestParamInfo<std::tuple<int, DType>>& info) {
  return std::string(kNarrowCases[std::get<0>(info.param)].name) + "_" + std::string(dtype_name(std::get<1>(info.param)));
}
INSTANTIATE_TEST_SUITE_P(Cases, CudaNarrowLinearsOnTheHost,
                         testing::Combine(testing::Range(0, static_cast<int>(std::size(kNarrowCases))),
                                          testing::Values(DType::float32, DType::bfloat16)),
                         narrow_name);
INSTANTIATE_TEST_SUITE_P(Cases, CudaNarrowLinearsOnAGpu,
                         testing::Combine(testing::Range(0, static_cast<int>(std::size(kNarrowCases))),
                                          testing::Values(DType::float32, DType::bfloat16, DType::float16)),
                         narrow_name);

TEST(CudaLinears, WhatTheLibrarysHeuristicsRefuseIsNoAlgorithm) {
  const cuda::HostGpu gpu = cuda::host_gpu();
  if (!gpu.driver->blas()) GTEST_SKIP() << "this build has no cuBLASLt";
  gpu.driver->enter();
  const auto matmul = gpu.driver->blas()->matmul(
      {.rows = 8, .columns = 16, .k = 16, .x_pitch = 16, .w_pitch = 16, .y_pitch = 16, .x = DType::bfloat16, .y = DType::bfloat16});
  ASSERT_NE(matmul, nullptr);
  EXPECT_EQ(matmul->algorithms(), 2);
}

// Parts of a concat and slices are read and written where they lie, or copied for a library that wants rows one behind the other; without a bias of
// each image it is given image by image.
TEST(CudaConvolutions, WhatTheLibraryDoesNotTakeIsPutOtherwise) {
  const auto graph = [] {
    Builder b(DType::bfloat16);
    const Value x = x4(b, 16), none, t = b.input("t", DType::float32, {2, 24});
    const auto conv = [&](Value in, const char* name, int64_t from, Value image_bias, Value residual) {
      return b.emit(Op::conv2d, {in, b.weight(name, {8, from, 3, 3}), none, image_bias, residual}, {{"stride", int64_t{1}}, {"padding", kSame}});
    };
    const Value whole = b.concat({conv(x, "a", 16, b.slice(t, 1, 8, 16), none), conv(x, "b", 16, none, none)}, 3), part = b.slice(whole, 3, 8, 16);
    b.output("y", b.add(conv(whole, "c", 16, none, part), conv(part, "d", 8, none, none)));
    return b.take();
  };
  const golden::Tensors inputs{{"x", Generator(1).randn({2, 16, 6, 5}).to(DType::bfloat16).to(DType::float32)}, {"t", Generator(2).randn({2, 24})}};
  const Tensor want = golden::run(decompose_all(graph()), ref::device(), {}, inputs, "", 0).at("y");
  for (const cuda::HostDriver::Options& library :
       {cuda::HostDriver::Options{}, cuda::HostDriver::Options{.packed_tensors = true}, cuda::HostDriver::Options{.image_biases = false},
        cuda::HostDriver::Options{.packed_tensors = true, .image_biases = false}}) {
    const cuda::HostGpu gpu = cuda::host_gpu(library);
    if (!gpu.driver->dnn()) GTEST_SKIP() << "this build has no cuDNN";
    const CompileOptions options{.mode = CompileMode::default_};
    const Plan plan = compile(graph(), *gpu.device, options);
    EXPECT_EQ(std::ranges::count(plan.step, "cudnn", &PlanStep::kernel), 4);
    EXPECT_TRUE(std::ranges::any_of(plan.values, [](const PlanValue& v) { return v.pitch > 0; }));
    const Tensor got = golden::run(graph(), gpu.device, options, inputs, "", 0).at("y");
    for (int64_t i = 0; i < want.numel(); ++i)
      ASSERT_NEAR(got.floats()[i], want.floats()[i], 0x1p-6 * std::max(1.f, std::abs(want.floats()[i]))) << i;
  }
}

// A plan may be a kernel that the library compiles then and there: only what is measured is built beside the first.
TEST(CudaConvolutions, OnePlanOfALibraryIsBuiltUntilOthersAreAskedFor) {
  const cuda::HostGpu gpu = cuda::host_gpu();
  if (!gpu.driver->dnn()) GTEST_SKIP() << "this build has no cuDNN";
  const auto* const item = std::ranges::find(kOpCases, std::string_view("conv3x3"), &OpCase::name);
  const WantedResult wanted(*item, DType::bfloat16);
  EXPECT_TRUE(wanted.check(gpu.device, "cudnn", wanted.unit()));
  EXPECT_EQ(gpu.driver->counts().dnn_plans, 1);
  const auto convolution = gpu.driver->dnn()->convolution({.images = 1,
                                                           .height = 4,
                                                           .width = 4,
                                                           .channels = 8,
                                                           .out_height = 4,
                                                           .out_width = 4,
                                                           .out_channels = 8,
                                                           .kernel_height = 1,
                                                           .kernel_width = 1,
                                                           .x_pitch = 8,
                                                           .y_pitch = 8,
                                                           .dtype = DType::bfloat16});
  ASSERT_NE(convolution, nullptr);
  EXPECT_EQ(gpu.driver->counts().dnn_plans, 2);
  EXPECT_TRUE(convolution->has(1));
  EXPECT_EQ(gpu.driver->counts().dnn_plans, 3);
  EXPECT_FALSE(convolution->has(2));
}

// And another start compiles nothing: a plan that was built comes from the cache.
TEST(CudaConvolutions, PlansOfALibraryAreKept) {
  const TempFolder folder;
  const CacheFolder files({.folder = folder / "cache", .max_bytes = uint64_t{1} << 30});
  const auto* const item = std::ranges::find(kOpCases, std::string_view("conv3x3"), &OpCase::name);
  const WantedResult wanted(*item, DType::bfloat16);
  for (const int64_t built : {1, 0}) {
    const cuda::HostGpu gpu = cuda::host_gpu({.dnn_plans = files});
    if (!gpu.driver->dnn()) GTEST_SKIP() << "this build has no cuDNN";
    EXPECT_TRUE(wanted.check(gpu.device, "cudnn", wanted.unit()));
    EXPECT_EQ(gpu.driver->counts().dnn_plans, built);
  }
  EXPECT_EQ(std::ranges::count(files.entries(), "kernels", &CacheEntry::kind), 1);
}

// NVIDIA's libraries answer for the GPU that the thread entered last.
TEST(CudaLibraries, AreAskedOnTheirGpu) {
  const cuda::HostGpu gpu = cuda::host_gpu(), other = cuda::host_gpu();
  if (!gpu.driver->blas() || !gpu.driver->dnn()) GTEST_SKIP() << "this build lacks one of them";
  for (const char* name : {"linear", "conv3x3"}) {
    other.driver->enter();
    const auto* const item = std::ranges::find(kOpCases, std::string_view(name), &OpCase::name);
    const Plan plan = compile(WantedResult(*item, DType::bfloat16).graph(), *gpu.device, {});
    EXPECT_TRUE(std::ranges::any_of(plan.step, [](const PlanStep& s) { return s.kernel == "cublaslt" || s.kernel == "cudnn"; })) << name;
  }
}

// What is compared are kernels, not launches and waits, nor the compiler that the first launch waits for.
TEST(CudaTimings, AreOfSeveralLaunchesAndOneWaitBehindAFirstOne) {
  const cuda::HostGpu gpu = cuda::host_gpu();
  const Attrs none;
  const KernelCall call{.op = Op::silu, .attrs = &none, .in = {Operand{DType::float32, {64}}}, .out = {DType::float32, {64}}};
  KernelTimer timer(call, *gpu.device);
  const cuda::HostDriver::Counts before = gpu.driver->counts();
  timer.time(*gpu.device->find("silu"), "", {.runs = 1, .warm_up = false});
  EXPECT_EQ(gpu.driver->counts().launches - before.launches, 11);
  EXPECT_EQ(gpu.driver->counts().waits - before.waits, 2);
}

// A candidate that a device cannot run is no reason to run nothing.
TEST(CudaTimings, ACandidateThatFailsIsLeftOut) {
  const cuda::HostGpu gpu = cuda::host_gpu({.failing = "elementwise"});
  const Attrs none;
  const TuningRequest request{.call = {.op = Op::silu, .attrs = &none, .in = {Operand{DType::float32, {64}}}, .out = {DType::float32, {64}}},
                              .candidates = {gpu.device->find("silu"), gpu.device->find("silu_any")},
                              .occurrences = 1'000'000'000};
  TuningStore store;
  Request caller;
  const auto results = autotune({&request, 1}, {.mode = CompileMode::max_autotune}, store, *gpu.device, caller);
  ASSERT_EQ(results[0].measured.size(), 1u);
  EXPECT_EQ(results[0].measured[0].kernel, "silu");
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

// A checkpoint's own bytes and scales: what they stand for, multiplied. Bytes times bytes are exact but for the rows' rounding, widened weights but
// for the dtype's.
void check_stored(Op op, DType stored, bool products, double off) {
  constexpr int64_t kRows = 5, kIn = 32, kOut = 48;
  const cuda::HostGpu gpu = cuda::host_gpu();
  Builder b(DType::float32, [stored](const std::string& name) { return name == "w" ? stored : DType::float32; });
  const Value none;
  std::vector<Value> in{b.input("x", DType::float32, {kRows, kIn}), b.weight("w", {kOut, kIn}), vec(b, "b", kOut), none, vec(b, "s", kOut)};
  b.output("y", b.emit(op, in, products ? Attrs{{"compute", "int8_dynamic"}} : Attrs{}));
  const auto plan = std::make_shared<const Plan>(compile(b.take(), *gpu.device, {}));
  EXPECT_EQ(plan->graph_breaks, std::vector<std::string>());
  Tensor w({kOut, kIn}, stored);
  for (int64_t i = 0; i < w.numel(); ++i) w.as<uint8_t>()[i] = static_cast<uint8_t>(i * 29 + i / 7) & 0xf7;  // no NaN of float8's
  const Tensor bias = Generator(1).randn({kOut}), x = Generator(2).randn({kRows, kIn}), wide = w.to(DType::float32);
  Tensor scales({kOut}, DType::float32);
  for (int64_t i = 0; i < kOut; ++i) scales.floats()[static_cast<size_t>(i)] = 0.01f * static_cast<float>(i + 1);
  ConstantStore store(gpu.device);
  Request request;
  Session session(plan, *gpu.device, store,
                  {.find = [&](const std::string& name) -> WeightBytes {
                     return name == "w" ? WeightBytes{stored, w.data()} : WeightBytes{DType::float32, (name == "b" ? bias : scales).data()};
                   },
                   .release = [](const std::string&) {}},
                  request);
  session.write("x", x);
  session.run(Phase::setup, request);
  session.run(Phase::step, request);
  const Tensor y = session.read("y", request);
  const auto sum = [&](int64_t r, int64_t c, bool sizes) {
    double total = 0;
    for (int64_t i = 0; i < kIn; ++i) {
      const double p = static_cast<double>(x.floats()[static_cast<size_t>(r * kIn + i)]) * wide.floats()[static_cast<size_t>(c * kIn + i)] *
                       scales.floats()[static_cast<size_t>(c)];
      total += sizes ? std::abs(p) : p;
    }
    return total + (sizes ? 0 : bias.floats()[static_cast<size_t>(c)]);
  };
  const auto gelu = [](double g) { return g / 2 * (1 + std::erf(g / std::sqrt(2.0))); };
  const int64_t columns = y.shape()[1];
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t c = 0; c < columns; ++c) {
      const double got = y.floats()[static_cast<size_t>(r * columns + c)], h = sum(r, c, false), h_off = off * sum(r, c, true);
      if (op == Op::linear) {
        ASSERT_NEAR(got, h, h_off + 1e-5) << r << ", " << c;
      } else {
        const double g = sum(r, kOut / 2 + c, false), g_off = off * sum(r, kOut / 2 + c, true);
        ASSERT_NEAR(got, h * gelu(g), h_off * (std::abs(gelu(g)) + g_off) + std::abs(h) * 1.13 * g_off + 1e-4) << r << ", " << c;
      }
    }
}

TEST(CudaStoredBytes, AreWhatTheyStandFor) {
  constexpr double kSums = 32 * 0x1p-24;
  // A row's element is off by half a step of at most 1/127 of its largest, which is some four times the usual one.
  check_stored(Op::linear, DType::int8, true, 0.5 / 127 * 4 * 3);
  check_stored(Op::geglu_linear, DType::int8, true, 0.5 / 127 * 4 * 3);
  check_stored(Op::linear, DType::int8, false, kSums);
  check_stored(Op::geglu_linear, DType::int8, false, kSums);
  check_stored(Op::geglu_linear, DType::float8_e4m3, false, kSums);
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaOpsOnTheHost, testing::Combine(testing::ValuesIn(kOpCases), testing::Values(DType::float32, DType::bfloat16)),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Cases, CudaOpsOnAGpu,
                         testing::Combine(testing::ValuesIn(kOpCases), testing::Values(DType::float32, DType::bfloat16, DType::float16)), case_name);

}  // namespace
}  // namespace vivace
