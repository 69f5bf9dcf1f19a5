// Launches of norms, softmax and rotations: what row_norm.cuh, group_norm.cuh and softmax.cuh are given.
#pragma once

#include <array>

#include "backends/cuda/kernels/arguments.cuh"
#include "backends/cuda/kernels/launch.h"

namespace vivace::cuda {

// `y`: uint8 or float8_e4m3 for quantised rows. The weights' dtype is that of weight and bias. The row of a head, as float, fits into shared memory:
// columns <= 24,000.
Call<RowNormArguments> make_row_norm(const RowNormArguments& arguments, DType x, DType weights, DType y);

// Moments, then the rest; fills in `chunks` and `chunk_pixels`. `partial` wants group_norm_workspace() bytes.
std::array<Call<GroupNormArguments>, 2> make_group_norm(GroupNormArguments arguments, int64_t images, DType x, DType weights);
size_t group_norm_workspace(int64_t images, int64_t pixels, int groups);

Call<SoftmaxArguments> make_softmax(const SoftmaxArguments& arguments, DType x, DType y);
Call<RotaryArguments> make_rotary(const RotaryArguments& arguments, DType x);

}  // namespace vivace::cuda
