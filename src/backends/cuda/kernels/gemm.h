// Launches of GEMMs and convolutions (gemm.cuh, gemm_plain.cuh).
#pragma once

#include "backends/cuda/kernels/arguments.cuh"
#include "backends/cuda/kernels/launch.h"

namespace vivace::cuda {

struct GemmTypes {
  DType x{};     // float32, bfloat16 or float16 as w; quantised rows: uint8, with w int8, or float8_e4m3 as w
  DType y{};     // of y and residual
  DType bias{};  // of bias, image_bias and gate: float32, or as y
  bool convolution = false;
  bool geglu = false;    // rows of w in the order of geglu_rows()
  bool plain = false;    // without tensor cores; so is float32 always
  int64_t matrices = 1;  // blockIdx.z
};

// Why not; "" when it can be done. On tensor cores w is [columns, k] without a w_step.
std::string refuse_gemm(const GemmArguments& arguments, const GemmTypes& types);
Call<GemmArguments> make_gemm(const GemmArguments& arguments, const GemmTypes& types);

// The row of w, as stored (hidden half, gate half), that comes `row`th in what a GEGLU's kernel reads: eight of each in turn.
inline int64_t geglu_row(int64_t row, int64_t rows) { return row / 16 * 8 + row % 8 + (row / 8 % 2 ? rows / 2 : 0); }

}  // namespace vivace::cuda
