// cuDNN's graph API behind dnn.h. Its functions come as a table: those of the library, found at run time, or a test's, which say what was asked of
// them.
#pragma once

#include <cudnn.h>

#include <memory>
#include <string>

#include "backends/cuda/dnn.h"
#include "base/cache_folder.h"

namespace vivace::cuda {

struct CudnnFunctions {
  decltype(&cudnnCreate) create = nullptr;
  decltype(&cudnnDestroy) destroy = nullptr;
  decltype(&cudnnGetVersion) version = nullptr;
  decltype(&cudnnSetStream) set_stream = nullptr;
  decltype(&cudnnBackendCreateDescriptor) create_descriptor = nullptr;
  decltype(&cudnnBackendDestroyDescriptor) destroy_descriptor = nullptr;
  decltype(&cudnnBackendSetAttribute) set = nullptr;
  decltype(&cudnnBackendGetAttribute) get = nullptr;
  decltype(&cudnnBackendFinalize) finalize = nullptr;
  decltype(&cudnnBackendExecute) execute = nullptr;
};

// Its plans are kept in the cache as those of a machine, which is the GPU and its driver.
std::unique_ptr<DnnLibrary> cudnn(const CudnnFunctions& functions, const CacheFolder& cache, const std::string& machine);
}  // namespace vivace::cuda
