// A stream of a GPU: launches, copies through pinned memory and ahead on a stream of their own, recordings as CUDA graphs.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/driver.h"
#include "runtime/device.h"

namespace vivace::cuda {

class CudaDevice;

class CudaStream final : public Stream {
 public:
  explicit CudaStream(std::shared_ptr<CudaDevice> device);
  ~CudaStream() override;

  void launch(BoundKernel& kernel) noexcept override;
  void copy_in(void* to, const void* host, size_t bytes) noexcept override;
  void copy_out(void* host, const void* from, size_t bytes) noexcept override;
  void copy(void* to, const void* from, size_t bytes) noexcept override;
  void ahead(size_t lane, std::span<const HostCopy> copies) noexcept override;
  void need(size_t lane) noexcept override;
  std::unique_ptr<Recording> record(const std::function<void()>& put) override;
  int64_t mark() noexcept override;
  bool passed(int64_t mark) noexcept override;

  // For kernels: what they put on the stream, and what they are told of it.
  DriverStream* handle() const { return handle_; }
  Driver& driver() const;
  void check(Status status, const char* what) noexcept;
  void fail(const std::string& what) noexcept;  // stays the first, until the next wait

 private:
  class Graph;
  // Pinned memory that copies pass through. Host memory that is not pinned is copied by the driver in a way that blocks.
  struct Chunk {
    std::shared_ptr<void> memory;
    DriverEvent* event = nullptr;  // behind the last copy of it
    size_t used = 0;
  };
  static constexpr size_t kChunk = size_t{8} << 20;
  static constexpr size_t kChunks = 2;
  std::shared_ptr<void> pinned_memory(size_t bytes) noexcept;  // nullptr after fail()
  void* staging(size_t bytes);                                 // of the current chunk, at most kChunk; nullptr after fail()
  void next_chunk();

  bool finish() override;
  void need_all() noexcept;  // what was copied ahead and not asked for: of a run that was stopped

  const std::shared_ptr<CudaDevice> device_;
  DriverStream* handle_ = nullptr;
  std::vector<Chunk> chunks_;
  size_t chunk_ = 0;
  struct Landing {
    void* host;
    std::shared_ptr<void> pinned;
    size_t bytes;
  };
  std::vector<Landing> landings_;      // copies out into memory that is not pinned, which the next wait completes
  static constexpr size_t kMarks = 4;  // more than the steps that the loop is ahead
  std::array<DriverEvent*, kMarks> mark_events_{};
  int64_t marks_ = 0;
  // What ahead() copies on, behind where this stream stood, and what is behind each lane's copies there.
  DriverStream* copies_ = nullptr;
  DriverEvent* begin_ = nullptr;
  struct Lane {
    DriverEvent* end = nullptr;
    bool needed = true;
  };
  std::array<Lane, kLanes> lanes_;
  bool busy_ = false;
  std::string error_;
  const BoundKernel *running_ = nullptr, *failed_ = nullptr;
};

}  // namespace vivace::cuda
