#include "backends/cuda/libcuda.h"

#include <cuda.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <map>
#include <mutex>

#include "backends/cuda/cublaslt.h"
#include "backends/cuda/dnn.h"
#include "backends/cuda/driver_functions.h"
#include "backends/cuda/nvrtc.h"
#include "backends/cuda/workers.h"
#include "base/log.h"
#include "codegen/cuda_source.h"
#include "vivace/error.h"

namespace vivace::cuda {
namespace {

CUdeviceptr address(const void* p) { return reinterpret_cast<CUdeviceptr>(p); }
CUstream cu(DriverStream* stream) { return reinterpret_cast<CUstream>(stream); }
CUevent cu(DriverEvent* event) { return reinterpret_cast<CUevent>(event); }

// NVRTC compiles on as many threads as ask it to, each with some memory.
constexpr unsigned kMostWorkers = 16;

class LibCuda final : public Driver {
 public:
  explicit LibCuda(int number) : nvrtc_(version() / 1000) {
    need(cu_.init(0), "this machine's GPUs cannot be used");
    int count = 0;
    need(cu_.count(&count), "its GPUs cannot be counted");
    if (number < 0 || number >= count)
      throw UserError(cat("cuda:", number, ": there ", count == 1 ? "is " : "are ", count, " GPU", count == 1 ? "" : "s",
                          count ? cat(", from cuda:0 to cuda:", count - 1) : "", ": use another, or --device cpu"));
    need(cu_.device(&device_, number), "the GPU cannot be opened");
    char name[256] = {};
    need(cu_.name(name, sizeof(name), device_), "the GPU cannot be opened");
    properties_ = {
        .name = name,
        .capability = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) * 10 + attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        .multiprocessors = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
        .threads_per_multiprocessor = attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR),
        .memory_bytes = 0,
        .versions = cat("driver ", version() / 1000, '.', version() % 1000 / 10, ", ", nvrtc_.version())};
    need(cu_.total(&properties_.memory_bytes, device_), "its memory cannot be measured");
    need(cu_.retain(&context_, device_), "the GPU cannot be opened");
    enter();
    need(cu_.create_stream(&allocations_, CU_STREAM_NON_BLOCKING), "a stream cannot be made");
    // What is freed stays with the process, for what is allocated next.
    need(cu_.pool(&pool_, device_), "it has no memory pools");
    cuuint64_t all = ~cuuint64_t{0};
    need(cu_.set_pool(pool_, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &all), "its memory pool cannot be used");
  }

  ~LibCuda() override {
    enter();
    for (const auto& [text, kernel] : kernels_)
      if (kernel.loaded.get().module) cu_.unload(kernel.loaded.get().module);
    cu_.destroy_stream(allocations_);
    cu_.release(device_);
  }

  const Properties& properties() const override { return properties_; }
  std::string explain(Status status) const override {
    if (status == kUnloaded) {
      const std::lock_guard lock(mutex_);
      return unloaded_;
    }
    const char* text = nullptr;
    cu_.explain(static_cast<CUresult>(status), &text);
    return text ? text : cat("error ", status);
  }

  Status allocate(size_t bytes, void** memory) override {
    enter();
    CUdeviceptr p = 0;
    Status status = cu_.allocate(&p, bytes, allocations_);
    if (status == kOutOfMemory) {  // what is free may lie in pieces
      cu_.synchronize_stream(allocations_);
      cu_.trim(pool_, 0);
      status = cu_.allocate(&p, bytes, allocations_);
    }
    if (status == kSuccess) status = cu_.synchronize_stream(allocations_);  // which has nothing else to do: others may use the memory now
    *memory = reinterpret_cast<void*>(p);
    return status;
  }
  void free(void* memory) override {
    enter();
    cu_.free(address(memory), allocations_);
  }
  Status allocate_pinned(size_t bytes, void** memory) override {
    enter();
    return cu_.allocate_host(memory, bytes, 0);
  }
  void free_pinned(void* memory) override {
    enter();
    cu_.free_host(memory);
  }
  size_t free_bytes() override {
    enter();
    size_t free = 0, total = 0;
    cuuint64_t reserved = 0, used = 0;
    cu_.memory(&free, &total);
    cu_.get_pool(pool_, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &reserved);
    cu_.get_pool(pool_, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used);
    return free + static_cast<size_t>(reserved - used);
  }

  Status create_stream(DriverStream** stream) override {
    enter();
    return cu_.create_stream(reinterpret_cast<CUstream*>(stream), CU_STREAM_NON_BLOCKING);
  }
  void destroy(DriverStream* stream) override {
    enter();
    cu_.destroy_stream(cu(stream));
  }
  Status synchronize(DriverStream* stream) override {
    enter();
    return cu_.synchronize_stream(cu(stream));
  }
  Status synchronize(DriverEvent* event) override {
    enter();
    return cu_.synchronize_event(cu(event));
  }
  Status create_event(DriverEvent** event) override {
    enter();
    return cu_.create_event(reinterpret_cast<CUevent*>(event), CU_EVENT_DISABLE_TIMING);
  }
  void destroy(DriverEvent* event) override {
    enter();
    cu_.destroy_event(cu(event));
  }
  Status record(DriverEvent* event, DriverStream* stream) override {
    enter();
    return cu_.record(cu(event), cu(stream));
  }
  Status wait(DriverStream* stream, DriverEvent* event) override {
    enter();
    return cu_.wait_event(cu(stream), cu(event), 0);
  }
  Status query(DriverEvent* event) override {
    enter();
    return cu_.query_event(cu(event));
  }
  Status copy(void* to, const void* from, size_t bytes, Way way, DriverStream* stream) override {
    if (bytes == 0) return kSuccess;
    enter();
    switch (way) {
      case Way::to_device:
        return cu_.to_device(address(to), from, bytes, cu(stream));
      case Way::to_host:
        return cu_.to_host(to, address(from), bytes, cu(stream));
      case Way::within:
        break;
    }
    return cu_.within(address(to), address(from), bytes, cu(stream));
  }

  DriverFunction* load(const Launch& launch) override { return load(module_text(launch), "kernel", launch.function); }
  DriverFunction* load(const TileKernel& kernel) override {
    constexpr const char* kEntry = "tile";
    return load(cuda_source(kernel.program, kernel.inputs, kernel.output, kEntry), kEntry, kernel.program.text());
  }
  Status launch(DriverFunction* function, const unsigned (&grid)[3], unsigned block, unsigned shared, const void* arguments, size_t bytes,
                DriverStream* stream) override {
    enter();
    auto& kernel = *reinterpret_cast<Kernel*>(function);
    const CUfunction loaded = kernel.loaded.get().function;
    if (!loaded) return kUnloaded;
    if (shared > kernel.shared) {
      if (const Status status = cu_.set_attribute(loaded, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, static_cast<int>(kMostShared)))
        return status;
      kernel.shared = kMostShared;
    }
    void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, const_cast<void*>(arguments), CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
    return cu_.launch(loaded, grid[0], grid[1], grid[2], block, 1, 1, shared, cu(stream), nullptr, extra);
  }

  Status begin_capture(DriverStream* stream) override {
    enter();
    return cu_.begin_capture(cu(stream), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  }
  Status end_capture(DriverStream* stream, DriverGraph** graph) override {
    enter();
    CUgraph captured = nullptr;
    if (const Status status = cu_.end_capture(cu(stream), &captured)) return status;
    const Status status = cu_.instantiate(reinterpret_cast<CUgraphExec*>(graph), captured, 0);
    cu_.destroy_graph(captured);
    return status;
  }
  Status launch(DriverGraph* graph, DriverStream* stream) override {
    enter();
    return cu_.launch_graph(reinterpret_cast<CUgraphExec>(graph), cu(stream));
  }
  void destroy(DriverGraph* graph) override {
    enter();
    cu_.destroy_exec(reinterpret_cast<CUgraphExec>(graph));
  }

  void enter() const override { cu_.set_current(context_); }
  BlasLibrary* blas() override {
    std::call_once(blas_once_, [&] {
      enter();
      blas_ = opened([&] { return find_cublaslt(version() / 1000); });
    });
    return blas_.get();
  }
  DnnLibrary* dnn() override {
    std::call_once(dnn_once_, [&] {
      enter();
      dnn_ = opened([&] {
        return find_cudnn(
            cat("sm_", properties_.capability, ", ", properties_.multiprocessors, " SMs, ", properties_.name, ", ", properties_.versions));
      });
    });
    return dnn_.get();
  }

 private:
  struct Loaded {
    CUmodule module = nullptr;
    CUfunction function = nullptr;  // nullptr: it could not be had
  };
  struct Kernel {
    std::shared_future<Loaded> loaded;
    std::atomic<unsigned> shared = 48u << 10;  // more has to be asked for
  };

  void need(CUresult status, const char* what) const {
    if (status != CUDA_SUCCESS) throw UserError(cat("cuda: ", what, ": ", explain(status), ": use --device cpu"));
  }
  int version() const {  // of CUDA: 13000
    int version = 0;
    cu_.version(&version);
    return version;
  }
  int attribute(CUdevice_attribute which) const {
    int value = 0;
    need(cu_.attribute(&value, which, device_), "the GPU cannot be asked");
    return value;
  }
  DriverFunction* load(const std::string& text, const std::string& entry, const std::string& name) {
    std::shared_ptr<std::packaged_task<Loaded()>> task;
    Kernel* kernel = nullptr;
    {
      const std::lock_guard lock(mutex_);
      const auto [at, first] = kernels_.try_emplace(text);
      kernel = &at->second;
      if (first) {
        task = std::make_shared<std::packaged_task<Loaded()>>([=, this] { return loaded(text, entry, name); });
        kernel->loaded = task->get_future().share();
      }
    }
    if (task) workers_.add([task] { (*task)(); });
    return reinterpret_cast<DriverFunction*>(kernel);
  }
  Loaded loaded(const std::string& text, const std::string& entry, const std::string& name) {
    Loaded loaded;
    try {
      const std::string cubin = nvrtc_.compile(text, name, properties_.capability);
      enter();
      need(cu_.load(&loaded.module, cubin.data()), "a kernel cannot be loaded");
      need(cu_.function(&loaded.function, loaded.module, entry.c_str()), "a kernel cannot be loaded");
    } catch (const std::exception& error) {
      const std::lock_guard lock(mutex_);
      if (unloaded_.empty()) unloaded_ = error.what();
    }
    return loaded;
  }

  const DriverFunctions cu_;
  const Nvrtc nvrtc_;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  CUmemoryPool pool_ = nullptr;
  CUstream allocations_ = nullptr;
  Properties properties_;
  std::once_flag blas_once_, dnn_once_;
  std::unique_ptr<BlasLibrary> blas_;
  std::unique_ptr<DnnLibrary> dnn_;
  mutable std::mutex mutex_;               // of what follows
  std::map<std::string, Kernel> kernels_;  // by text
  std::string unloaded_;                   // why the first that could not be had could not
  Workers workers_{std::clamp(std::thread::hardware_concurrency(), 1u, kMostWorkers)};
};

}  // namespace

std::unique_ptr<Driver> open_driver(int number) { return std::make_unique<LibCuda>(number); }

}  // namespace vivace::cuda
