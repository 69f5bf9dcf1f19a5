// Launches of what stands around a model's step in a denoising loop (step.cuh).
#pragma once

#include "backends/cuda/kernels/arguments.cuh"
#include "backends/cuda/kernels/launch.h"

namespace vivace::cuda {

// dtype: of the model's input.
Call<FeedArguments> make_feed(const FeedArguments& arguments, DType dtype);
// dtype: of the model's output.
Call<FinishArguments> make_finish(const FinishArguments& arguments, DType dtype);
Call<AdvanceArguments> make_advance(LoopState* state);

}  // namespace vivace::cuda
