// Without cuBLASLt's headers the host device has no cuBLASLt: own kernels do everything.
#include "host_driver.h"

namespace vivace::cuda {

std::unique_ptr<BlasLibrary> host_blas(HostDriver&) { return nullptr; }

}  // namespace vivace::cuda
