#include "backends/cpu/kernels/gemm/int16.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/parallel.h"

namespace vivace::cpu::gemm_detail {

Int16Row::Int16Row(RowSize size, int64_t k) {
  const float largest = std::bit_cast<float>(size.largest), root = std::sqrt(static_cast<float>(k));
  if (!std::isfinite(largest)) {
    scale = std::numeric_limits<float>::quiet_NaN();
    return;
  }
  // Rounding adds up to half a step a value to the norm; 16 covers that of the float32 sum of squares, which means nothing where squares over- or underflow.
  const float most = 46340.f - root / 2 - 16;
  const float norm = largest > 0x1p-50f && largest < 0x1p50f ? std::sqrt(size.squares) : largest * root;
  scale = std::max(largest / kInt16Most, norm / most);
  inverse = 1 / scale;
  if (!std::isfinite(inverse)) scale = inverse = 0;  // so small that it counts as zero
}

void quantize_int16(const Level& level, Elem given, const char* a, int64_t lda, int64_t m, int64_t k, char* to, int64_t stride, float* scales) {
  const int e = static_cast<int>(given);
  parallel_for(m, 8, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      RowSize size;
      level.measure[e](a + r * lda, k, size);
      const Int16Row row(size, k);
      int16_t* out = reinterpret_cast<int16_t*>(to + r * stride);
      level.to_int16[e](a + r * lda, row.inverse, out, k);
      std::memset(out + k, 0, static_cast<size_t>(stride - k * 2));
      scales[r] = row.scale;
    }
  });
}

}  // namespace vivace::cpu::gemm_detail
