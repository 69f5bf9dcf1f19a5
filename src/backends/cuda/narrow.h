// What linears of 8 bits share: how their weights are packed, and how rows are quantised before a product.
#pragma once

#include "backends/cuda/entries.h"
#include "backends/cuda/kernels/launch.h"
#include "tensor/narrow_weight.h"

namespace vivace::cuda {

inline constexpr int64_t kMostNarrowColumns = 24000;  // a row as float in shared memory

// A weight as its bytes, in the order in which the GEMM reads the rows, then a scale a row.
struct NarrowWeight {
  Operand weight;
  DType storage{};        // int8 or float8_e4m3
  bool products = false;  // of 8 bits, else it is widened before them
  bool geglu = false;
  int hadamard = 0;
  bool stored = false;  // the checkpoint has the bytes and their scales

  size_t scales_at() const { return aligned(static_cast<size_t>(numel(weight.shape))); }
  size_t bytes() const { return scales_at() + static_cast<size_t>(weight.shape[0]) * sizeof(float); }
  std::string key() const;
  const float* scales_in(const void* packed) const { return reinterpret_cast<const float*>(static_cast<const char*>(packed) + scales_at()); }
  void pack(Driver& driver, const void* source, const void* scales, void* to, Stream& stream) const;
};

// Rows of floats as bytes, rounded up to four of them, and a scale a row behind them all.
struct QuantizedRows {
  Operand x;
  DType dtype{};  // uint8 or float8_e4m3
  int hadamard = 0;

  int64_t pitch() const { return (x.columns() + 3) / 4 * 4; }
  size_t scales_at() const { return aligned(static_cast<size_t>(x.rows() * pitch())); }
  size_t bytes() const { return scales_at() + static_cast<size_t>(x.rows()) * sizeof(float); }
  Call<RowNormArguments> make(const void* from, void* to, BadValue bad) const;
};

}  // namespace vivace::cuda
