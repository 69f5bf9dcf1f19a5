// Without cuDNN's headers the host device has no cuDNN: own kernels do everything.
#include "host_driver.h"

namespace vivace::cuda {

std::unique_ptr<DnnLibrary> host_dnn(HostDriver&) { return nullptr; }

}  // namespace vivace::cuda
