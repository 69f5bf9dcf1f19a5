// A fused elementwise chain (ops/tile_program.h) as CUDA source: what NVRTC compiles on a device. The same program runs on the CPU's tile VM.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "ops/tile_input.h"
#include "ops/tile_program.h"

namespace vivace {

// A translation unit, over numbers.cuh of backends/cuda/kernels, with one kernel,
//   extern "C" __global__ void NAME(const T0* i0, long long s0, ..., T* out, long long out_stride, long long rows, long long channels,
//                                   long long rows_per_image)
// for any grid and block of one dimension. A thread takes eight channels of a row at a time, in loads of 16 bytes where the pointers are aligned.
// Arithmetic is float32, rounded once at the end and at each cast. Throws InternalError for a dtype that is none of the three.
std::string cuda_source(const TileText& program, std::span<const TileInput> inputs, DType output, std::string_view name);

}  // namespace vivace
