// NCCL behind collectives.h. Its functions come as a table: those of the library, found at run time, or a test's.
#pragma once

#include <nccl.h>

#include <memory>

#include "backends/cuda/collectives.h"

namespace vivace::cuda {

struct NcclFunctions {
  decltype(&ncclGetErrorString) explain = nullptr;
  decltype(&ncclGetLastError) last_error = nullptr;
  decltype(&ncclGetUniqueId) unique_id = nullptr;
  decltype(&ncclCommInitRank) init_rank = nullptr;
  decltype(&ncclCommGetAsyncError) async_error = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclCommDestroy) destroy = nullptr;
  decltype(&ncclAllGather) all_gather = nullptr;
};

std::unique_ptr<CollectiveLibrary> nccl(const NcclFunctions& functions);
// The library's. Throws UserError where there is none.
NcclFunctions find_nccl();

}  // namespace vivace::cuda
