// An NVIDIA GPU: own kernels compiled for it by NVRTC, cuBLASLt and cuDNN where they win, the oracle on the host for what nobody else takes.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "backends/cuda/collectives.h"
#include "backends/cuda/driver.h"
#include "runtime/device.h"

namespace vivace::cuda {

class CudaDevice final : public Device, public RankDevice, public std::enable_shared_from_this<CudaDevice> {
 public:
  // `label` begins each of its errors: "cuda:0". `open_collectives`: the library that ranks exchange through, once it is asked for.
  CudaDevice(std::unique_ptr<Driver> driver, std::string label, OpenCollectives open_collectives = open_nccl);
  ~CudaDevice() override;

  Target target() const override;
  std::span<const KernelEntry> kernels() const override { return kernels_; }
  std::shared_ptr<void> allocate(size_t bytes, Memory memory = Memory::device) override;
  std::unique_ptr<Stream> stream() override;
  LoopKernels loop_kernels(const LoopCall& call) override;
  std::string communicator_id() override { return collectives().id(); }
  std::shared_ptr<Communicator> communicator(const std::string& id, int rank, int size, std::function<void()> watch = {}) override {
    return collectives().communicator(shared_from_this(), id, rank, size, std::move(watch));
  }
  uint64_t memory() const override { return driver_->properties().memory_bytes; }
  std::optional<uint64_t> free_memory() const override { return driver_->free_bytes(); }
  std::vector<MemoryLabel>* labels() override { return driver_->labels(); }

  Driver& driver() const { return *driver_; }
  const std::string& label() const { return label_; }
  // Whether a host address lies in memory that this device gave as Memory::host.
  bool is_pinned(const void* host) const;
  // Throws UserError where there is no `what` to be had.
  void require(Status status, const char* what) const;

 private:
  CollectiveLibrary& collectives();
  std::shared_ptr<void> allocate_pinned(size_t bytes);
  [[noreturn]] void out_of_memory(size_t bytes) const;

  const std::unique_ptr<Driver> driver_;
  const std::string label_;
  const std::string libraries_;  // that its kernels may be of: "cuBLASLt 130000, no cuDNN"
  const OpenCollectives open_collectives_;
  std::once_flag collectives_once_;
  std::unique_ptr<CollectiveLibrary> collectives_;
  std::vector<KernelEntry> kernels_;
  mutable std::mutex mutex_;
  std::map<const char*, size_t> pinned_;  // bytes by begin
};

// GPU `number` of this machine. Throws UserError saying what is missing: "cuda: there is no libcuda.so.1: ...".
std::shared_ptr<Device> device(int number);

}  // namespace vivace::cuda
