// Several processes that share the pictures of a call, one a GPU. Who starts them tells each which one it is: torchrun, mpirun, or a loop of a shell.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "arguments.h"
#include "vivace/pipeline.h"

namespace vivace::cli {

struct Ranks {
  int rank = 0, size = 1;
  int local = 0;       // among those of this machine: the number of its GPU
  bool pairs = false;  // two draw a picture: 0 and 1, 2 and 3, ...

  // As which of how many it draws.
  Ranks drawing() const { return pairs ? Ranks{.rank = rank / 2, .size = size / 2, .local = local} : *this; }
  // One of two that draw the same picture.
  bool writes() const { return !pairs || rank % 2 == 0; }
};
// PyTorch's RANK, WORLD_SIZE and LOCAL_RANK, or Open MPI's. Throws UsageError where they are missing or no numbers that fit.
Ranks ranks_of_environment();

// A part of a list, one behind the other.
struct Share {
  size_t first = 0, count = 0;
};
// As Accelerate's split_between_processes: the first of the ranks have one more where it does not come out even.
Share share_of(size_t items, int rank, int size);

// Which pictures of a call are this process's: from `first` on, of `all`.
struct PictureNumbers {
  size_t first = 0, all = 0;
};

struct ParallelFlags {
  std::string by;

  void add(Arguments& app);
  // Of this process: alone where nothing is to be shared. Throws UsageError.
  Ranks ranks() const;
};

// The device of one of them: "cuda" is the GPU of its number. Throws UsageError for one GPU that all would take.
std::string device_of(const std::string& device, const Ranks& ranks);

// Leaves of a call and its prompts what is this rank's; where there is one rank alone all, whose number it does not know. Throws UsageError for what
// cannot be shared: a seed for several pictures, tensors, several pictures to begin with.
PictureNumbers take_share(Prompts& prompts, CallOptions& call, std::vector<uint64_t>& seeds, const Ranks& ranks);

}  // namespace vivace::cli
