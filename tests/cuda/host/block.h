// Runs CUDA kernels on the host: each CUDA thread of a block is a fiber, blocks run one after another, on one OS thread. Lanes meet where CUDA's do:
// the block at __syncthreads(), a warp in each shuffle, vote, ldmatrix and mma, where the last lane that arrives computes for all. The order in which
// lanes and blocks run comes from a seed: a kernel that lacks a barrier gives other results for some. Shared memory is NaN when a block begins, and
// asynchronous copies happen at their wait. What no GPU would do with a defined result is an error with block, lane and line: a barrier that a lane
// does not reach, lanes of a warp that meet in different places, unaligned wide accesses, copies that nobody waited for.
#pragma once

#include <boost/context/fiber.hpp>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};
// Of the lane that runs.
inline Dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace host_cuda {

struct Launch {
  Dim3 grid;
  unsigned block = 32;  // threads
  unsigned shared = 0;  // bytes
  unsigned seed = 0;    // 0: in order, all warps at one pace; else shuffled, warp after warp
};

// Throws std::runtime_error with what went wrong first.
void run(const Launch& launch, const std::function<void()>& kernel);

// Where a lane is in its source.
struct Place {
  const char* what = "";
  int line = 0;
  bool operator==(const Place& other) const { return line == other.line && what == other.what; }
};

// What a warp computes together: from each lane's `in` to each lane's `out`.
using Collective = void (*)(const void* const* in, void* const* out);

// For the twins of device functions. Of the lane that runs:
void meet_block(Place place);
void meet_warp(Place place, Collective compute, const void* in, void* out);
char* shared_memory();
[[noreturn]] void fail(const std::string& what);
void copy_later(void* to, const void* from);  // 16 bytes; nullptr: zeros
void close_copies();
void wait_for_copies(size_t left);

}  // namespace host_cuda
