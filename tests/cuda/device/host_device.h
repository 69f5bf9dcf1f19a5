// Devices of the CUDA backend over a host driver, by name, for a test's pipelines.
#pragma once

#include <memory>
#include <string>

#include "backends/cuda/device.h"
#include "host_driver.h"

namespace vivace::cuda {

struct HostGpu {
  std::shared_ptr<CudaDevice> device;
  HostDriver* driver;  // the device's
};
HostGpu host_gpu(const HostDriver::Options& options = {});
// NCCL whose ranks are threads of this process; nullptr in a build without its header.
std::unique_ptr<CollectiveLibrary> host_collectives();

// Two of them, of two ranks, which pipelines open as "host-cuda-ranks:0" and ":1".
HostGpu& rank_gpu(int rank);

// The one that pipelines open as "host-cuda".
HostGpu& shared_host_gpu();

}  // namespace vivace::cuda
