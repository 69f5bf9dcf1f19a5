// Without NCCL's header no rank meets another.
#include "host_device.h"

namespace vivace::cuda {

std::unique_ptr<CollectiveLibrary> host_collectives() { return nullptr; }

}  // namespace vivace::cuda
