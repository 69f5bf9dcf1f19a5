// What the CUDA backend makes of the device seam: copies through pinned memory, waits that are counted, recordings, and errors that say where.
#include "backends/cuda/stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <future>
#include <numeric>
#include <optional>

#include "backends/devices.h"
#include "backends/ref/device.h"
#include "compiler/compile.h"
#include "components/component.h"
#include "components/component_cache.h"
#include "host_device.h"
#include "runtime/session.h"
#include "temp_folder.h"
#include "vivace/error.h"

namespace vivace::cuda {
namespace {

const char* const kGraph = R"(%0 = input(name="x", dims="rows,_") : float32[4, 3]
%1 = weight(name="a") : float32[3, 3]
%2 = weight(name="b") : float32[3]
%3 = transpose(%1, perm=[1, 0]) : float32[3, 3]
%4 = matmul(%0, %3) : float32[4, 3]
%5 = softmax(%4) : float32[4, 3]
%6 = add(%5, %2) : float32[4, 3]
return y=%6
)";

class CudaStreams : public testing::Test {
 protected:
  std::shared_ptr<const Plan> plan_for(Device& device, CompileMode mode) {
    return std::make_shared<const Plan>(compile(parse_graph(kGraph), device, {.mode = mode}));
  }
  Session session_on(const HostGpu& gpu, CompileMode mode) {
    store_ = std::make_unique<ConstantStore>(gpu.device);
    return {plan_for(*gpu.device, mode), *gpu.device, *store_, weights_, request_};
  }
  Tensor run(Session& session, float first) {
    Tensor x = x_.clone();
    x.floats()[0] = first;
    session.write("x", x);
    session.run(Phase::step, request_);
    return session.read("y", request_);
  }
  Tensor wanted(float first) {
    ConstantStore store(ref::device());
    Session session(plan_for(*ref::device(), CompileMode::off), *ref::device(), store, weights_, request_);
    return run(session, first);
  }
  static void expect_close(const Tensor& got, const Tensor& want) {
    for (int64_t i = 0; i < want.numel(); ++i) EXPECT_NEAR(got.floats()[i], want.floats()[i], 16 * 0x1p-24 * 10) << i;
  }
  static std::string message(const std::function<void()>& what) {
    try {
      what();
    } catch (const UserError& error) {
      return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
  }

  const Tensor a_ = Tensor::from({3, 3}, std::vector<float>{1, 2, 3, -4, 5, 6, 7, -8, 9}), b_ = Tensor::from({3}, std::vector<float>{.5f, -1, 2});
  const Tensor x_ = Tensor::from({4, 3}, std::vector<float>{1, 0, 0, 0, 1, 0, 0, 0, 1, .5f, -.25f, 2});
  const WeightSource weights_{.find =
                                  [this](const std::string& name) {
                                    return WeightBytes{DType::float32, (name == "a" ? a_ : b_).data()};
                                  },
                              .release = [](const std::string&) {}};
  Request request_;
  std::unique_ptr<ConstantStore> store_;
};

TEST_F(CudaStreams, CopiesPassThroughPinnedMemoryInPieces) {
  const HostGpu gpu = host_gpu();
  const auto stream = gpu.device->stream();
  std::vector<int32_t> sent((size_t{20} << 20) / sizeof(int32_t) + 1), got(sent.size());  // more than the pinned chunks hold
  std::iota(sent.begin(), sent.end(), 1);
  const std::vector<int32_t> want = sent;
  const size_t bytes = sent.size() * sizeof(int32_t);
  const auto memory = gpu.device->allocate(bytes);
  stream->copy_in(memory.get(), sent.data(), bytes);
  std::ranges::fill(sent, 0);  // it has been taken
  stream->copy_out(got.data(), memory.get(), bytes);
  EXPECT_EQ(got[0], 0) << "nothing is there before the wait";
  stream->wait(request_.counters);
  EXPECT_EQ(got, want);
  EXPECT_EQ(request_.counters.host_device_syncs, 1);
  stream->wait(request_.counters);
  EXPECT_EQ(request_.counters.host_device_syncs, 1) << "there was nothing to wait for";
}

TEST_F(CudaStreams, PinnedMemoryIsReadWhereItLies) {
  const HostGpu gpu = host_gpu();
  const auto stream = gpu.device->stream();
  const auto memory = gpu.device->allocate(64), host = gpu.device->allocate(64, Memory::host);
  const int64_t copies = gpu.driver->counts().copies;
  stream->copy_out(host.get(), memory.get(), 64);
  stream->wait(request_.counters);
  EXPECT_EQ(gpu.driver->counts().copies - copies, 1);
  EXPECT_TRUE(gpu.device->is_pinned(static_cast<char*>(host.get()) + 63));
  EXPECT_FALSE(gpu.device->is_pinned(static_cast<char*>(host.get()) + 64));
}

TEST_F(CudaStreams, AStepIsRecordedOnceAndReplayed) {
  const HostGpu gpu = host_gpu();
  Session session = session_on(gpu, CompileMode::reduce_overhead);
  expect_close(run(session, 1), wanted(1));
  EXPECT_EQ(request_.counters.steps_recorded, 1);
  const HostDriver::Counts before = gpu.driver->counts();
  expect_close(run(session, 3), wanted(3));
  expect_close(run(session, -2), wanted(-2));
  const HostDriver::Counts after = gpu.driver->counts();
  EXPECT_EQ(request_.counters.steps_recorded, 1);
  EXPECT_EQ(request_.counters.steps_replayed, 2);
  EXPECT_EQ(after.launches, before.launches);
  EXPECT_EQ(after.captures, 1);
  EXPECT_EQ(after.graph_launches - before.graph_launches, 2);
  EXPECT_EQ(after.allocations, before.allocations);
}

TEST_F(CudaStreams, AStepThatCannotBeRecordedIsLaunchedKernelByKernel) {
  const HostGpu gpu = host_gpu({.failing_in_capture = "softmax"});
  Session session = session_on(gpu, CompileMode::reduce_overhead);
  expect_close(run(session, 1), wanted(1));
  expect_close(run(session, 3), wanted(3));
  EXPECT_EQ(request_.counters.steps_recorded, 0);
  EXPECT_EQ(request_.counters.steps_replayed, 0);
  EXPECT_EQ(gpu.driver->counts().captures, 0);
}

TEST_F(CudaStreams, OtherModesLaunchKernels) {
  for (CompileMode mode : {CompileMode::off, CompileMode::default_}) {
    const HostGpu gpu = host_gpu();
    Session session = session_on(gpu, mode);
    expect_close(run(session, 1), wanted(1));
    expect_close(run(session, 3), wanted(3));
    EXPECT_EQ(gpu.driver->counts().captures, 0);
  }
}

TEST_F(CudaStreams, ALaunchThatFailsNamesKernelAndOp) {
  const HostGpu gpu = host_gpu({.failing = "softmax"});
  Session session = session_on(gpu, CompileMode::off);
  EXPECT_EQ(message([&] { run(session, 1); }), "cuda:0: launching a kernel: invalid argument, in kernel softmax of softmax");
}

TEST_F(CudaStreams, AKernelThatFailsIsToldAtTheWaitAndNamedWhereEachIsWaitedFor) {
  const HostGpu gpu = host_gpu({.failing = "softmax", .failing_late = true});
  Session session = session_on(gpu, CompileMode::off);
  EXPECT_EQ(message([&] { run(session, 1); }), "cuda:0: a kernel or a copy failed: an illegal memory access was encountered");
  const HostGpu another = host_gpu({.failing = "softmax", .failing_late = true});
  Session timed = session_on(another, CompileMode::off);
  timed.write("x", x_);
  std::vector<double> seconds(timed.plan().step.size());
  EXPECT_EQ(message([&] { timed.run_timed(Phase::step, request_, seconds); }),
            "cuda:0: a kernel or a copy failed: an illegal memory access was encountered, in kernel softmax of softmax");
}

TEST_F(CudaStreams, MemoryThatIsNotThereIsToldWithWhatWouldHelp) {
  const HostGpu gpu = host_gpu({.memory_bytes = size_t{1} << 30});
  const auto half = gpu.device->allocate(size_t{1} << 29);
  EXPECT_EQ(message([&] { gpu.device->allocate(size_t{3} << 28); }),
            "cuda:0: out of memory: 0.75 GiB more are needed, 0.5 of 1 GiB are free: use a smaller size or batch, bf16, quantisation, VAE tiling or "
            "--offload model");
}

TEST_F(CudaStreams, PinnedMemoryThatIsNotThereIsTold) {
  const HostGpu gpu = host_gpu({.pinned_bytes = size_t{1} << 20});
  const auto most = gpu.device->allocate(size_t{3} << 18, Memory::host);
  EXPECT_EQ(message([&] { gpu.device->allocate(size_t{1} << 29, Memory::host); }),
            "cuda:0: out of pinned host memory: 0.5 GiB more are needed: use bf16 or quantisation, or end what else fills this machine's memory");
}

// The cache is filled through a piece of the host's memory: where there is no room even for that nothing is kept, and that is all.
TEST_F(CudaStreams, PreparedWeightsAreKeptThroughAPieceOfTheHostsMemory) {
  constexpr size_t kBytes = (size_t{20} << 20) + 1, kPiece = size_t{8} << 20;
  const TempFolder folder;
  const CacheFolder files({.folder = folder / "cache", .max_bytes = uint64_t{1} << 30});
  for (const size_t pinned : {kPiece / 2, kPiece}) {
    const HostGpu gpu = host_gpu({.pinned_bytes = pinned});
    ComponentCache cache(files, "unet", "{}", WeightStack(), gpu.device);
    ConstantStore store(gpu.device);
    store.put({hash128("a"), gpu.device->allocate(kBytes), kBytes}, true);
    cache.keep_constants(store);
    cache.forget_constants();
    EXPECT_EQ(std::ranges::count(files.entries(), "weights", &CacheEntry::kind), pinned < kPiece ? 0 : 1);
  }
}

TEST_F(CudaStreams, ConstantsAreWrittenPieceByPiece) {
  const HostGpu gpu = host_gpu();
  std::vector<int32_t> sent((size_t{20} << 20) / sizeof(int32_t) + 1);
  std::iota(sent.begin(), sent.end(), 1);
  const size_t bytes = sent.size() * sizeof(int32_t);
  const Constant constant{hash128("a"), gpu.device->allocate(bytes), bytes};
  const auto stream = gpu.device->stream();
  stream->copy_in(constant.data.get(), sent.data(), bytes);
  stream->wait(request_.counters);
  const auto written = std::make_shared<std::vector<std::byte>>();
  ConstantFile::write({constant}, *gpu.device,
                      [&](std::span<const std::byte> piece) { written->insert(written->end(), piece.begin(), piece.end()); });
  const auto file = ConstantFile::open(*written, written, "test");
  const ConstantFile::Entry* const entry = file->find(constant.id, bytes);
  ASSERT_NE(entry, nullptr);
  EXPECT_TRUE(file->is_whole(*entry));
  EXPECT_EQ(std::memcmp(file->bytes_of(*entry).data(), sent.data(), bytes), 0);
}

// Two requests would take more than half of the GPU's memory, whatever the host has: the second one waits.
TEST_F(CudaStreams, RequestsWaitForTheMemoryOfTheirDevice) {
  const HostGpu gpu = host_gpu({.memory_bytes = size_t{12} << 20});
  const Component component("toy", {}, DType::float32, {}, {}, gpu.device);
  const GraphRequest wanted{.function = "forward", .sizes = {{"rows", 8192}}, .granularity = {}, .build = [](const Sizes& s, Builder b) {
                              b.output("y", b.emit(Op::softmax, {b.input("x", DType::float32, {s.at("rows"), 64}, Phase::step)}));
                              return b.take();
                            }};
  std::optional<SessionLease> first(component.lease(wanted, request_));
  auto second = std::async(std::launch::async, [&] {
    Request request;
    const SessionLease lease = component.lease(wanted, request);
  });
  EXPECT_EQ(second.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  first.reset();
  second.get();
}

TEST_F(CudaStreams, WhereThereIsNoGpuOneLineSaysWhy) {
  try {
    open_device("cuda:0");
    GTEST_SKIP() << "there is a GPU here";
  } catch (const UserError& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("cuda: ")) << error.what();
    EXPECT_TRUE(std::string(error.what()).ends_with("use --device cpu")) << error.what();
  }
  EXPECT_THROW(open_device("cuda:one"), UsageError);
  EXPECT_THROW(open_device("cpu:1"), UsageError);
}

// Plans, and what was measured, are of the libraries that they name kernels of.
TEST_F(CudaStreams, PlansAreKnownByTheLibrariesThatAreThere) {
  const HostGpu with = host_gpu(), without = host_gpu({.libraries = false});
  EXPECT_NE(without.device->target().text.find("no cuBLASLt, no cuDNN"), std::string::npos) << without.device->target().text;
  if (!with.driver->blas()) GTEST_SKIP() << "this build has no cuBLASLt";
  EXPECT_NE(with.device->target().text.find("cuBLASLt 1"), std::string::npos) << with.device->target().text;
}

TEST_F(CudaStreams, AGpuThatIsTooOldIsRefused) {
  EXPECT_EQ(message([] { host_gpu({.capability = 75}); }),
            "cuda:0: a host that plays a GPU has compute capability 7.5, the kernels need 8.0 (Ampere) or newer: use --device cpu");
}

}  // namespace
}  // namespace vivace::cuda
