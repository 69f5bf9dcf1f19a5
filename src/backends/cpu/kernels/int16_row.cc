#include "backends/cpu/kernels/int16_row.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace vivace::cpu {

Int16Row::Int16Row(RowSize size, int64_t k, float norm) {
  const float largest = std::bit_cast<float>(size.largest), root = std::sqrt(static_cast<float>(k));
  if (!std::isfinite(largest)) {
    scale = std::numeric_limits<float>::quiet_NaN();
    return;
  }
  // Rounding adds up to half a step a value to the norm; 16 covers that of the float32 sum of squares, which means nothing where squares over- or
  // underflow.
  const float most = norm - root / 2 - 16;
  const float length = largest > 0x1p-50f && largest < 0x1p50f ? std::sqrt(size.squares) : largest * root;
  scale = std::max(largest / 16383, length / most);
  inverse = 1 / scale;
  if (!std::isfinite(inverse)) scale = inverse = 0;  // so small that it counts as zero
}

}  // namespace vivace::cpu
