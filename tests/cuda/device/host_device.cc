#include "host_device.h"

#include "backends/devices.h"

namespace vivace::cuda {

HostGpu host_gpu(const HostDriver::Options& options) {
  auto driver = std::make_unique<HostDriver>(options);
  HostDriver* const kept = driver.get();
  return {std::make_shared<CudaDevice>(std::move(driver), "cuda:0", host_collectives), kept};
}

HostGpu& rank_gpu(int rank) {
  static HostGpu gpus[] = {host_gpu(), host_gpu()};
  static const bool listed = [] {
    devices().push_back({"host-cuda-ranks", [](int number) -> std::shared_ptr<Device> { return rank_gpu(number).device; }});
    return true;
  }();
  (void)listed;
  return gpus[rank];
}

HostGpu& shared_host_gpu() {
  static HostGpu gpu = [] {
    devices().push_back({"host-cuda", [](int) -> std::shared_ptr<Device> { return shared_host_gpu().device; }});
    return host_gpu();
  }();
  return gpu;
}

}  // namespace vivace::cuda
