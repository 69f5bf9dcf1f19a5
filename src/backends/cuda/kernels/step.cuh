// A scheduler's step: a linear combination, with coefficients of this step from a table that the host made before the loop.
#pragma once

#include "movement.cuh"

namespace vivace::cuda {

// Products and sums round each on their own and in the order of the terms, as the host's step does (schedulers/step_program.h).
__device__ inline void combine(const StepArguments& a) {
  const float* const row = a.table + (a.index ? *a.index : 0) * a.terms;
  for (long long i = first_index(); i < a.count; i += index_step()) {
    float sum = 0.f;
    for (int t = 0; t < a.terms; ++t)
      if (row[t] != 0.f) sum = add_rounded(sum, mul_rounded(row[t], a.in[t][i]));
    if (a.bound != 0.f) sum = sum < -a.bound ? -a.bound : sum > a.bound ? a.bound : sum;
    a.out[i] = sum;
  }
}

// Once at the end of a step, by one thread.
__device__ inline void advance(const AdvanceArguments& a) {
  if (threadIdx.x == 0 && blockIdx.x == 0) ++*a.index;
}

}  // namespace vivace::cuda
