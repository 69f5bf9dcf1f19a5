// GEMMs of a library, as the backend asks for them; cublaslt.cc has them.
#pragma once

#include <memory>
#include <string>

#include "backends/cuda/driver.h"
#include "backends/cuda/kernels/arguments.cuh"

namespace vivace::cuda {

// y [rows, columns] = act(x [rows, k] w [columns, k]^T scales + bias + residual), all row-major.
struct MatmulCall {
  int64_t rows = 0, columns = 0, k = 0;
  int64_t x_pitch = 0, w_pitch = 0, y_pitch = 0, residual_pitch = 0;
  DType x{}, y{};  // of x and w; of y, bias and residual. float8_e4m3: rows of x and of w have a scale each
  bool tf32 = false;
  Activation act = kIdentity;  // kIdentity, kRelu or kGeluTanh
  bool bias = false, residual = false;
};

// With everything decided but the addresses. Any thread may run it.
class Matmul {
 public:
  virtual ~Matmul() = default;
  virtual int algorithms() const = 0;  // best first, as the library expects
  bool has(int algorithm) const { return algorithm < algorithms(); }
  virtual size_t workspace_bytes(int algorithm) const = 0;
  struct Addresses {
    const void *x = nullptr, *w = nullptr, *bias = nullptr, *residual = nullptr;
    const float *x_scales = nullptr, *w_scales = nullptr;
    void *y = nullptr, *workspace = nullptr;
  };
  // "" or what went wrong.
  virtual std::string run(int algorithm, const Addresses& addresses, DriverStream* stream) const = 0;
};

class BlasLibrary {
 public:
  virtual ~BlasLibrary() = default;
  virtual std::string version() const = 0;
  // nullptr where it has no algorithm for the call.
  virtual std::shared_ptr<const Matmul> matmul(const MatmulCall& call) = 0;
};

}  // namespace vivace::cuda
