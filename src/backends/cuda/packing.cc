#include "backends/cuda/packing.h"

#include <algorithm>

#include "backends/cuda/kernels/movement.h"

namespace vivace::cuda {

std::unique_ptr<BoundKernel> repack(Driver& driver, const Repacking& r, const void* in, void* out) {
  auto call = make_elementwise({.op = Elementwise::cast,
                                .in = {in, nullptr},
                                .out = out,
                                .in_shapes = {r.shape, {}},
                                .shape = r.shape,
                                .in_dtypes = {r.from, {}},
                                .dtype = r.to});
  std::copy(r.strides.begin(), r.strides.end(), call.arguments.strides[0] + kMostDims - static_cast<int64_t>(r.strides.size()));
  return launches(driver, call);
}

Repacking channels_last_weight(const Shape& w, DType from, DType to) {
  const int64_t taps = w[2] * w[3];
  return {{w[0], w[2], w[3], w[1]}, {w[1] * taps, w[3], 1, taps}, from, to};
}

Repacking linear_weight(const Shape& w, bool geglu, DType from, DType to) {
  if (!geglu) return {{w[0] * w[1]}, {1}, from, to};
  const int64_t eight = 8 * w[1];
  return {{w[0] / 16, 2, eight}, {eight, w[0] / 2 * w[1], 1}, from, to};
}

}  // namespace vivace::cuda
