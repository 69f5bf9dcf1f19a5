// For a build where NCCL's header was not found.
#include "backends/cuda/collectives.h"
#include "vivace/error.h"

namespace vivace::cuda {

std::unique_ptr<CollectiveLibrary> open_nccl() {
  throw UserError("cuda: this build has no NCCL: build where nccl.h is, or use --parallel prompts, which needs none");
}

}  // namespace vivace::cuda
