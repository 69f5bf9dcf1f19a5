// Driver: all that the backend asks of a GPU and its driver, as one small table of functions. Two implementations: libcuda.cc, which loads the
// driver's library at run time, and the tests' host device. No header of the CUDA toolkit is needed to build what stands above it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/kernels/launch.h"
#include "ops/tile_input.h"
#include "ops/tile_program.h"
#include "runtime/device.h"

namespace vivace::cuda {

class BlasLibrary;
class DnnLibrary;

// What the driver answered: CUDA's numbers, 0 for success.
using Status = int;
inline constexpr Status kSuccess = 0, kOutOfMemory = 2, kNotReady = 600;
inline constexpr Status kUnloaded = -1;  // our own: a kernel could not be compiled or loaded

// The driver's own, known by address alone.
struct DriverStream;
struct DriverEvent;
struct DriverFunction;
struct DriverGraph;

struct Properties {
  std::string name;    // "NVIDIA H100 80GB HBM3"
  int capability = 0;  // 90: sm_90
  int multiprocessors = 0;
  int threads_per_multiprocessor = 0;
  size_t memory_bytes = 0;
  std::string versions;  // of what makes and runs kernels: "driver 13.0, NVRTC 13.0"

  bool multiplies_float8() const { return capability >= 89; }  // e4m3 on tensor cores: Ada and later
};

// A chain of elementwise ops (codegen/cuda_source.h). Its parameters, all of eight bytes, one after another are its arguments.
struct TileKernel {
  TileText program;
  std::vector<TileInput> inputs;
  DType output = DType::float32;
};

enum class Way : uint8_t { to_device, to_host, within };

// Of one GPU. Any thread may call it.
class Driver {
 public:
  virtual ~Driver() = default;
  virtual const Properties& properties() const = 0;
  virtual std::string explain(Status status) const = 0;  // "an illegal memory access was encountered"

  // Device memory in the order of a stream that belongs to the driver: usable anywhere once the call returns; freed when nothing uses it any more.
  virtual Status allocate(size_t bytes, void** memory) = 0;
  virtual void free(void* memory) = 0;
  virtual Status allocate_pinned(size_t bytes, void** memory) = 0;
  virtual void free_pinned(void* memory) = 0;
  virtual size_t free_bytes() = 0;

  virtual Status create_stream(DriverStream** stream) = 0;
  virtual void destroy(DriverStream* stream) = 0;
  // The two that block.
  virtual Status synchronize(DriverStream* stream) = 0;
  virtual Status synchronize(DriverEvent* event) = 0;
  virtual Status create_event(DriverEvent** event) = 0;
  virtual void destroy(DriverEvent* event) = 0;
  virtual Status record(DriverEvent* event, DriverStream* stream) = 0;
  // What is put on the stream from now on is done behind where the event was recorded last. Does not block.
  virtual Status wait(DriverStream* stream, DriverEvent* event) = 0;
  // kNotReady until the stream has come by where it was recorded. Does not block.
  virtual Status query(DriverEvent* event) = 0;
  // Host memory is pinned, or the call would block.
  virtual Status copy(void* to, const void* from, size_t bytes, Way way, DriverStream* stream) = 0;

  // Has it compiled (unless it is on disk from an earlier time) and loaded meanwhile, which its first launch waits for: kUnloaded where that fails.
  virtual DriverFunction* load(const Launch& launch) = 0;
  virtual DriverFunction* load(const TileKernel& kernel) = 0;
  // `arguments` as they lie in memory; they are copied.
  virtual Status launch(DriverFunction* function, const unsigned (&grid)[3], unsigned block, unsigned shared, const void* arguments, size_t bytes,
                        DriverStream* stream) = 0;

  // Between the two nothing that is put on the stream is done: it becomes a graph, with what is put on streams that wait for an event of it.
  virtual Status begin_capture(DriverStream* stream) = 0;
  virtual Status end_capture(DriverStream* stream, DriverGraph** graph) = 0;
  virtual Status launch(DriverGraph* graph, DriverStream* stream) = 0;
  virtual void destroy(DriverGraph* graph) = 0;

  // Device::labels().
  virtual std::vector<MemoryLabel>* labels() { return nullptr; }
  // NVIDIA's libraries work on the GPU that the calling thread entered last.
  virtual void enter() const {}
  // cuBLASLt and cuDNN; nullptr where this machine or this build lacks them.
  virtual BlasLibrary* blas() { return nullptr; }
  virtual DnnLibrary* dnn() { return nullptr; }
};

}  // namespace vivace::cuda
