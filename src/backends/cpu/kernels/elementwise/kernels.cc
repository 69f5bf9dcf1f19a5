#include "backends/cpu/kernels/elementwise/isa.h"
#include "backends/cpu/kernels/vecmath/span.h"

namespace vivace::cpu::VIVACE_SIMD {
namespace {

void convert(const void* x, DType x_dtype, void* y, DType y_dtype, int64_t count) {
  with_type(x_dtype, [&](auto x_type) { with_type(y_dtype, [&](auto y_type) { convert_span<decltype(x_type), decltype(y_type)>(x, y, count); }); });
}

VIVACE_INLINE int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

// The transpose goes through two float tiles in L1: read along the rows, turned in 4 x 4 blocks, written along the columns.
inline constexpr int64_t kBlock = 32;

void turn(const float* in, float* out, int64_t rows, int64_t columns, int64_t out_stride) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    int64_t c = 0;
    for (; c + 4 <= columns; c += 4) {
      const float* p = in + r * columns + c;
      __m128 v0 = _mm_loadu_ps(p), v1 = _mm_loadu_ps(p + columns), v2 = _mm_loadu_ps(p + 2 * columns), v3 = _mm_loadu_ps(p + 3 * columns);
      _MM_TRANSPOSE4_PS(v0, v1, v2, v3);
      float* q = out + c * out_stride + r;
      _mm_storeu_ps(q, v0);
      _mm_storeu_ps(q + out_stride, v1);
      _mm_storeu_ps(q + 2 * out_stride, v2);
      _mm_storeu_ps(q + 3 * out_stride, v3);
    }
    for (; c < columns; ++c)
      for (int64_t k = 0; k < 4; ++k) out[c * out_stride + r + k] = in[(r + k) * columns + c];
  }
  for (; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) out[c * out_stride + r] = in[r * columns + c];
}

void transpose(const RowInput& x, int64_t rows, int64_t columns, const RowOutput& y) {
  alignas(64) float in[kBlock * kBlock], out[kBlock * kBlock];
  // A side of a few channels leaves its share of the block to the other side, so that both ends move long spans.
  const int64_t row_step = columns < kBlock ? kBlock * kBlock / (columns > 0 ? columns : 1) : rows < kBlock ? rows : kBlock;
  const int64_t column_step = rows < kBlock ? kBlock * kBlock / (rows > 0 ? rows : 1) : columns < kBlock ? columns : kBlock;
  for (int64_t r = 0; r < rows; r += row_step) {
    const int64_t n = min64(row_step, rows - r);
    const int64_t step = min64(column_step, kBlock * kBlock / n);
    for (int64_t c = 0; c < columns; c += step) {
      const int64_t m = min64(step, columns - c);
      const void* source = at(x.data, x.dtype, r * x.stride + c);
      if (x.stride == m) {
        load_span(source, x.dtype, in, n * m);
      } else {
        for (int64_t k = 0; k < n; ++k) load_span(at(source, x.dtype, k * x.stride), x.dtype, in + k * m, m);
      }
      turn(in, out, n, m, n);
      void* target = at(y.data, y.dtype, c * y.stride + r);
      if (y.stride == n) {
        store_span(out, target, y.dtype, n * m);
      } else {
        for (int64_t k = 0; k < m; ++k) store_span(out + k * n, at(target, y.dtype, k * y.stride), y.dtype, n);
      }
    }
  }
}

}  // namespace

const ElementwiseKernels kElementwiseKernels = {convert, transpose};

}  // namespace vivace::cpu::VIVACE_SIMD
