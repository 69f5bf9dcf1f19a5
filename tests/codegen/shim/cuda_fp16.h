// Enough of CUDA to run a printed kernel on the host, one thread after another.
#pragma once

#include <cmath>

#include "tensor/half.h"

#define __global__
#define __device__

struct Dim {
  unsigned x = 0;
};
inline Dim gridDim, blockDim, blockIdx, threadIdx;

using __half = vivace::f16;
inline float __half2float(__half x) { return static_cast<float>(x); }
inline __half __float2half(float x) { return __half(x); }
inline float rsqrtf(float x) { return 1.f / std::sqrt(x); }

template <class Kernel, class... Arguments>
void launch(unsigned blocks, unsigned threads, Kernel kernel, Arguments... arguments) {
  gridDim.x = blocks;
  blockDim.x = threads;
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
    for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) kernel(arguments...);
}
