// Launches of attention (attention.cuh, attention_plain.cuh).
#pragma once

#include "backends/cuda/kernels/arguments.cuh"
#include "backends/cuda/kernels/launch.h"

namespace vivace::cuda {

// Why not; "" when it can be done: heads of at most 512 features, those of v no larger than those of q.
std::string refuse_attention(const AttentionArguments& arguments);
// On tensor cores where the dtype is bfloat16 or float16 and `plain` is not set.
Call<AttentionArguments> make_attention(const AttentionArguments& arguments, int64_t images, DType dtype, bool plain = false);

}  // namespace vivace::cuda
