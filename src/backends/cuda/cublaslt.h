// cuBLASLt behind blas.h. Its functions come as a table: those of the library, found at run time, or a test's, which say what was asked of them.
#pragma once

#include <cublasLt.h>

#include <memory>

#include "backends/cuda/blas.h"

namespace vivace::cuda {

struct CublasLtFunctions {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtGetVersion) version = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulDescCreate) create_operation = nullptr;
  decltype(&cublasLtMatmulDescDestroy) destroy_operation = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) set_operation = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) create_layout = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) destroy_layout = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) create_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) destroy_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
};

std::unique_ptr<BlasLibrary> cublaslt(const CublasLtFunctions& functions);
// nullptr where this machine lacks it for a driver of this major number of CUDA. On the thread's GPU.
std::unique_ptr<BlasLibrary> find_cublaslt(int driver);

}  // namespace vivace::cuda
