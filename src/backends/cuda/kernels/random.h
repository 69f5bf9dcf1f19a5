// Launches of random numbers (random.cuh).
#pragma once

#include "backends/cuda/kernels/arguments.cuh"
#include "backends/cuda/kernels/launch.h"

namespace vivace::cuda {

// torch.randn or torch.rand of `count` float32 by a generator that stands at `offset`, on a GPU of so many multiprocessors with so many threads each:
// torch's grid, and so its order of the numbers, depends on them.
Call<RandomArguments> make_random(const RandomArguments& arguments, int multiprocessors, int threads_each);
// How far the generator is after it.
unsigned long long offset_after(const Call<RandomArguments>& call);

}  // namespace vivace::cuda
