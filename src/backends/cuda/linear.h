// What the entries of linear and geglu_linear share: their inputs, and what an own GEMM (kernels/gemm.h) is told of a call.
#pragma once

#include "backends/cuda/entries.h"
#include "backends/cuda/kernels/gemm.h"

namespace vivace::cuda {

inline constexpr size_t kWeight = 1, kBias = 2, kResidual = 3, kScale = 4, kGate = 5;

// Without addresses; pitches are those of the operands.
GemmArguments linear_arguments(const KernelCall& call);
// With the addresses of x, weight, bias, residual, gate and result.
GemmArguments with_buffers(GemmArguments arguments, const Buffers& buffers);
// Why bias, residual and gate do not fit.
Refusal refuse_epilogue(const KernelCall& call);

}  // namespace vivace::cuda
