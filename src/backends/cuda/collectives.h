// What GPUs of several processes exchange through a library, as the backend asks for it; nccl.cc has it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "runtime/communicator.h"

namespace vivace::cuda {

class CudaDevice;

class CollectiveLibrary {
 public:
  virtual ~CollectiveLibrary() = default;
  // Of RankDevice.
  virtual std::string id() = 0;
  virtual std::shared_ptr<Communicator> communicator(std::shared_ptr<CudaDevice> device, const std::string& id, int rank, int size,
                                                     std::function<void()> watch) = 0;
};

// NCCL. Throws UserError where this machine, or this build, lacks it.
std::unique_ptr<CollectiveLibrary> open_nccl();
using OpenCollectives = std::unique_ptr<CollectiveLibrary> (*)();

}  // namespace vivace::cuda
