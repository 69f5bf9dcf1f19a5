// Loops over spans: memory of any of the three float types to and from float tiles in L1, and reductions of a tile.
#pragma once

#include "backends/cpu/kernels/simd/simd.h"
#include "vivace/dtype.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

// call(TypeTag) with the tag of a float32, bfloat16 or float16.
template <class Call>
VIVACE_INLINE void with_type(DType dtype, const Call& call) {
  switch (dtype) {
    case DType::bfloat16:
      call(Bfloat16{});
      break;
    case DType::float16:
      call(Float16{});
      break;
    default:
      call(Float32{});
      break;
  }
}

// Bytes an element of these three types takes.
VIVACE_INLINE int64_t width(DType dtype) { return dtype == DType::float32 ? 4 : 2; }
VIVACE_INLINE const void* at(const void* p, DType dtype, int64_t i) { return static_cast<const char*>(p) + i * width(dtype); }
VIVACE_INLINE void* at(void* p, DType dtype, int64_t i) { return static_cast<char*>(p) + i * width(dtype); }

template <class S, class D>
inline void convert_span(const void* src, void* dst, int64_t n) {
  const auto* s = static_cast<const typename S::T*>(src);
  auto* d = static_cast<typename D::T*>(dst);
  each_vector(n, [&](int64_t i, auto lanes) { D::store(S::load(s + i, lanes), d + i, lanes); });
}

inline void load_span(const void* src, DType dtype, float* dst, int64_t n) {
  with_type(dtype, [&](auto type) { convert_span<decltype(type), Float32>(src, dst, n); });
}

inline void store_span(const float* src, void* dst, DType dtype, int64_t n) {
  with_type(dtype, [&](auto type) { convert_span<Float32, decltype(type)>(src, dst, n); });
}

// A span as floats: in place when it is float32 already, otherwise converted into buffer.
inline const float* as_floats(const void* src, DType dtype, float* buffer, int64_t n) {
  if (dtype == DType::float32) return static_cast<const float*>(src);
  load_span(src, dtype, buffer, n);
  return buffer;
}

// The sum over i < n of term(i, lanes), whose unused lanes must be zero. Four accumulators hide the latency of the addition and, with the
// lanes, make the float sum a shallow tree.
template <class Term>
VIVACE_INLINE float sum_span(int64_t n, const Term& term) {
  VF a = Zero(), b = a, c = a, d = a;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a = a + term(i, Full{});
    b = b + term(i + kLanes, Full{});
    c = c + term(i + 2 * kLanes, Full{});
    d = d + term(i + 3 * kLanes, Full{});
  }
  for (; i + kLanes <= n; i += kLanes) a = a + term(i, Full{});
  if (i < n) b = b + term(i, Part{n - i});
  return ReduceSum((a + b) + (c + d));
}

}  // namespace
}  // namespace vivace::cpu::VIVACE_SIMD
