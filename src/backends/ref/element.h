// Elements of any dtype as double, and index arithmetic for row-major shapes.
#pragma once

#include "runtime/kernel.h"
#include "tensor/half.h"
#include "vivace/error.h"

namespace vivace::ref {

inline double load(DType dtype, const void* data, int64_t i) {
  switch (dtype) {
    case DType::float32:
      return static_cast<const float*>(data)[i];
    case DType::float16:
      return static_cast<float>(static_cast<const f16*>(data)[i]);
    case DType::bfloat16:
      return static_cast<float>(static_cast<const bf16*>(data)[i]);
    case DType::float8_e4m3:
      return static_cast<float>(static_cast<const f8e4m3*>(data)[i]);
    case DType::float64:
      return static_cast<const double*>(data)[i];
    case DType::int8:
      return static_cast<const int8_t*>(data)[i];
    case DType::uint8:
      return static_cast<const uint8_t*>(data)[i];
    case DType::int32:
      return static_cast<const int32_t*>(data)[i];
    case DType::int64:
      return static_cast<double>(static_cast<const int64_t*>(data)[i]);
    case DType::boolean:
      return static_cast<const bool*>(data)[i];
  }
  return 0;
}

inline void store(DType dtype, void* data, int64_t i, double value) {
  const auto f = static_cast<float>(value);
  switch (dtype) {
    case DType::float32:
      static_cast<float*>(data)[i] = f;
      break;
    case DType::float16:
      static_cast<f16*>(data)[i] = f16(f);
      break;
    case DType::bfloat16:
      static_cast<bf16*>(data)[i] = bf16(f);
      break;
    case DType::float8_e4m3:
      static_cast<f8e4m3*>(data)[i] = f8e4m3(f);
      break;
    case DType::float64:
      static_cast<double*>(data)[i] = value;
      break;
    case DType::int8:
      static_cast<int8_t*>(data)[i] = static_cast<int8_t>(value);
      break;
    case DType::uint8:
      static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(value);
      break;
    case DType::int32:
      static_cast<int32_t*>(data)[i] = static_cast<int32_t>(value);
      break;
    case DType::int64:
      static_cast<int64_t*>(data)[i] = static_cast<int64_t>(value);
      break;
    case DType::boolean:
      static_cast<bool*>(data)[i] = value != 0;
      break;
  }
}

// One bound call, by value.
struct Bound {
  KernelCall call;
  Attrs attrs;
  Buffers buffers;

  bool has(size_t i) const { return call.has(i); }
  const Shape& shape(size_t i) const { return call.in[i]->shape; }
  const Shape& out_shape() const { return call.out.shape; }
  double in(size_t i, int64_t at) const { return load(call.in[i]->dtype, buffers.in[i], at); }
  void out(int64_t at, double value) const { store(call.out.dtype, buffers.out, at, value); }
};

// Calls fn(coordinates) for every index of `shape`, in row-major order.
template <class Fn>
void each_index(const Shape& shape, Fn fn) {
  std::vector<int64_t> at(shape.size());
  for (int64_t n = numel(shape); n > 0; --n) {
    fn(at);
    for (size_t d = shape.size(); d-- > 0;) {
      if (++at[d] < shape[d]) break;
      at[d] = 0;
    }
  }
}

// The flat position of `at` in a tensor of `shape` that broadcasts to at's rank.
inline int64_t position(const Shape& shape, const std::vector<int64_t>& at) {
  int64_t p = 0;
  const size_t skip = at.size() - shape.size();
  for (size_t d = 0; d < shape.size(); ++d) p = p * shape[d] + (shape[d] == 1 ? 0 : at[skip + d]);
  return p;
}

}  // namespace vivace::ref
