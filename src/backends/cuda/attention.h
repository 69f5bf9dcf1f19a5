// What the entries of attention share: what a kernel (kernels/attention.h) is told of a call.
#pragma once

#include "backends/cuda/entries.h"
#include "backends/cuda/kernels/attention.h"

namespace vivace::cuda {

inline constexpr size_t kMask = 3;

// Without addresses.
AttentionArguments attention_arguments(const KernelCall& call);
// Why the own kernels do not take it.
Refusal refuse_attention_call(const KernelCall& call);

}  // namespace vivace::cuda
