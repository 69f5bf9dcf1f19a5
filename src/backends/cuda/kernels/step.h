// Launches of what stands around a model's step in a denoising loop (step.cuh).
#pragma once

#include "backends/cuda/kernels/arguments.cuh"
#include "backends/cuda/kernels/launch.h"

namespace vivace::cuda {

// dtype: of the model's input.
Call<FeedArguments> make_feed(const FeedArguments& arguments, DType dtype);
// dtype: of all that is added.
Call<AddArguments> make_add(const AddArguments& arguments, DType dtype);
// dtype: of the model's output.
Call<GuideArguments> make_guide(const GuideArguments& arguments, DType dtype);
Call<GuideArguments> make_rescale(const GuideArguments& arguments, DType dtype);
Call<FinishArguments> make_finish(const FinishArguments& arguments);
Call<AdvanceArguments> make_advance(LoopState* state);

}  // namespace vivace::cuda
