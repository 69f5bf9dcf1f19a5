// Weights in the order and dtype that kernels read them in, made on the GPU when a model is prepared.
#pragma once

#include <memory>

#include "backends/cuda/entries.h"

namespace vivace::cuda {

// out[i] = in[i . strides], for every i of `shape`, from one float dtype to another. `out` is dense.
struct Repacking {
  Shape shape, strides;
  DType from{}, to{};
};
std::unique_ptr<BoundKernel> repack(Driver& driver, const Repacking& repacking, const void* in, void* out);

// A weight [O, I, height, width] as [O, height, width, I].
Repacking channels_last_weight(const Shape& weight, DType from, DType to);
// A weight [rows, columns] as it is, or its rows in the order that GEGLU's kernel reads (kernels/gemm.h).
Repacking linear_weight(const Shape& weight, bool geglu, DType from, DType to);

}  // namespace vivace::cuda
